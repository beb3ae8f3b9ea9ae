/** Where a model's files come from: a folder, a server, files dropped on a page. */

/** Read access to the files of one model; paths are relative, with `/` between their parts. */
export interface FileSource {
  /** Of the model, for messages. */
  readonly name: string;
  /**
   * All files, recursively, sorted. With `depth`, those below more folders may be left out.
   * @throws {FileNotFoundError}
   * @throws {FileReadError}
   */
  list(depth?: number): Promise<string[]>;
  /** Bytes. @throws {FileNotFoundError} */
  size(path: string): Promise<number>;
  /**
   * Bytes `start` to `end` (exclusive) in an array of their own.
   * @throws {FileNotFoundError}
   * @throws {FileReadError} if the file ends before `end` or cannot be read
   */
  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The whole file as UTF-8. @throws {FileNotFoundError} */
  text(path: string): Promise<string>;
  has(path: string): Promise<boolean>;
}

/** True for a relative path that stays inside: file names come out of downloaded files, too. */
export function isInnerPath(path: string): boolean {
  return !/[\\\0]|^[a-zA-Z]:/.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** `folder/file`, where `folder` may be empty. */
export function joinPath(folder: string, file: string): string {
  return folder === "" ? file : `${folder}/${file}`;
}
