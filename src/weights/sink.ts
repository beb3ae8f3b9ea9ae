/** Where exporters and converters put their files, whatever that is. */

/** Names are relative, with `/` between folders. */
export interface FileSink {
  /** Opens a new file, replacing one of that name. */
  create(path: string): Promise<FileWriter>;
}

export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}
