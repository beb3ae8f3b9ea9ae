/**
 * Expands loops that a kernel marks, so that register tiles are indexed by constants:
 *
 *     for (var i = 0u; i < TILE; i++) { // unroll
 *
 * becomes `TILE` copies of the body, each `{ const i = 3u; ... }`. The file means the same without.
 * Bounds are integer expressions of literals and module constants (`const TILE = 2u * LANES;`).
 */
export function unroll(source: string): string {
  const constants = readConstants(source);
  const marked =
    /for \(var (\w+) = ([^;]+); \1 < ([^;]+); \1(?:\+\+| \+= (\w+))\) \{ \/\/ unroll\n/g;
  for (;;) {
    // The last marked loop holds no other marked loop, so one pass from the end expands inside out.
    let loop: RegExpExecArray | null = null;
    marked.lastIndex = 0;
    for (let next; (next = marked.exec(source));) loop = next;
    if (!loop) return source;
    const [head, name, first, bound, step] = loop;
    const start = loop.index + head.length;
    const end = closingBrace(source, start);
    const body = source.slice(start, end - 1).trim();
    let copies = "";
    const last = evaluate(bound!, constants);
    const stride = step ? evaluate(step, constants) : 1;
    for (let n = evaluate(first!, constants); n < last; n += stride) {
      copies += `{ const ${name} = ${n}u; ${body} }\n`;
    }
    source = source.slice(0, loop.index) + copies + source.slice(end);
  }
}

function closingBrace(source: string, start: number): number {
  let depth = 1;
  let end = start;
  while (depth > 0 && end < source.length) {
    const c = source[end++];
    if (c === "{") depth++;
    else if (c === "}") depth--;
  }
  return end;
}

function readConstants(source: string): Map<string, number> {
  const constants = new Map<string, number>();
  for (const [, name, value] of source.matchAll(/^const (\w+)(?:: u32)? = ([\w\s*/+()-]+);/gm)) {
    if (/^[\w\s*/+()-]+$/.test(value!) && !/[.]/.test(value!)) {
      const known = tokens(value!).every((t) => /^[*/+()-]$|^\d+u?$/.test(t) || constants.has(t));
      if (known) constants.set(name!, evaluate(value!, constants));
    }
  }
  return constants;
}

const tokens = (text: string) => text.match(/\w+|[*/+()-]/g) ?? [];

/** Integer arithmetic as WGSL's u32: `+ - * /` and parentheses. */
function evaluate(text: string, constants: ReadonlyMap<string, number>): number {
  const queue = tokens(text);
  const atom = (): number => {
    const token = queue.shift() ?? "";
    if (token === "(") {
      const value = sum();
      queue.shift();
      return value;
    }
    if (/^\d+u?$/.test(token)) return parseInt(token);
    const value = constants.get(token);
    if (value === undefined) throw new SyntaxError(`Cannot unroll: ${token} is not a constant`);
    return value;
  };
  const product = (): number => {
    let value = atom();
    while (queue[0] === "*" || queue[0] === "/") {
      value = queue.shift() === "*" ? value * atom() : Math.floor(value / atom());
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (queue[0] === "+" || queue[0] === "-") {
      value = queue.shift() === "+" ? value + product() : value - product();
    }
    return value;
  };
  return sum();
}
