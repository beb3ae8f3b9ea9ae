/** Model folders that a visitor drops on the page or picks from disk, as files by relative path. */

export interface PickedFolder {
  readonly name: string;
  readonly files: ReadonlyMap<string, File>;
}

/** The folder behind an `<input type="file" webkitdirectory>`. */
export function fromInput(input: HTMLInputElement): PickedFolder | undefined {
  const files = [...input.files ?? []];
  return asFolder(new Map(files.map((file) => [file.webkitRelativePath || file.name, file])));
}

/** The folder in a drop; the items must be read before the event's handler returns. */
export async function fromDrop(transfer: DataTransfer): Promise<PickedFolder | undefined> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const files = new Map<string, File>();
  for (const entry of entries) if (entry !== null) await collect(entry, files);
  const [first] = entries.filter((entry) => entry !== null);
  // An empty folder is one, too: whoever dropped it is told so.
  return asFolder(files) ?? (first && { name: first.name, files });
}

/** Takes the common folder off the paths, which is the model's name; a single file names itself. */
function asFolder(files: Map<string, File>): PickedFolder | undefined {
  if (files.size === 0) return undefined;
  const paths = [...files.keys()];
  const name = paths[0]?.split("/")[0] ?? "";
  if (paths[0] === name && paths.length === 1) return { name, files };
  if (!paths.every((path) => path.startsWith(`${name}/`))) return { name: "Dropped files", files };
  const inner = [...files].map(([path, file]) => [path.slice(name.length + 1), file] as const);
  return { name, files: new Map(inner) };
}

async function collect(entry: FileSystemEntry, files: Map<string, File>): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject)
    );
    files.set(entry.fullPath.replace(/^\//, ""), file);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  while (true) {
    // A reader hands out at most a hundred entries at a time, and none when it is through.
    const inner = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject)
    );
    if (inner.length === 0) return;
    for (const child of inner) await collect(child, files);
  }
}
