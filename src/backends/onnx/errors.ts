/** An ONNX graph cannot be used, or onnxruntime failed; the message names the file and the node. */
export class OnnxError extends Error {
  override readonly name = "OnnxError";
  constructor(readonly graph: string, message: string, options?: ErrorOptions) {
    super(`${graph}: ${message}`, options);
  }
}

/** A checkpoint does not fit the network that its config describes. */
export class ExportError extends Error {
  override readonly name = "ExportError";
}
