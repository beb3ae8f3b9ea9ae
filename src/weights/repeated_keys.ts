/** `JSON.parse` keeps the last of two equal keys in silence; in a table of tensors that hides one. */

/**
 * Keys that occur more than once in one object, at any depth.
 * @param json valid JSON (`JSON.parse` has accepted it)
 */
export function repeatedKeys(json: string): string[] {
  const repeated: string[] = [];
  /** Keys seen in each open object; null for an open array. */
  const open: (Set<string> | null)[] = [];
  let expectsKey = false;
  for (let i = 0; i < json.length; i++) {
    switch (json[i]) {
      case "{":
        open.push(new Set());
        expectsKey = true;
        break;
      case "[":
        open.push(null);
        expectsKey = false;
        break;
      case "}":
      case "]":
        open.pop();
        expectsKey = false;
        break;
      case ",":
        expectsKey = open.at(-1) !== null;
        break;
      case '"': {
        const start = i++;
        while (json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
        const keys = open.at(-1);
        if (!expectsKey || !keys) break;
        const key = JSON.parse(json.slice(start, i + 1)) as string;
        if (keys.has(key)) repeated.push(key);
        keys.add(key);
        expectsKey = false;
        break;
      }
    }
  }
  return repeated;
}
