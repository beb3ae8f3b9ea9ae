/**
 * The part of ONNX's protobuf schema (`onnx.proto`, IR version 8) that this project writes and
 * reads: models, graphs, nodes, attributes, tensors and their external data. Field numbers are
 * those of `onnx.proto`. Messages are coded with protobufjs's minimal `Writer` and `Reader`, so
 * neither code generation nor `eval` is needed and it runs under a page's content policy.
 */
import protobuf from "protobufjs/minimal";

export const { Reader, Writer } = protobuf;
type Reader = protobuf.Reader;
type Writer = protobuf.Writer;

/** `TensorProto.DataType`. */
export const dataTypes = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10 } as const;
export type DataType = keyof typeof dataTypes;

/** Bytes of one element. */
export const dataTypeBytes: Readonly<Record<DataType, number>> = {
  f32: 4,
  i32: 4,
  i64: 8,
  bool: 1,
  f16: 2,
};

/** An attribute of a node; the kind is told by the JavaScript value. */
export type AttributeValue =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly string: string };

export interface NodeProto {
  readonly opType: string;
  readonly name: string;
  /** An empty name stands for an absent optional input. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** A named dimension is free, a number is fixed. */
export type Dim = number | string;

export interface ValueInfo {
  readonly name: string;
  readonly dtype: DataType;
  readonly dims: readonly Dim[];
}

/** Where a tensor's bytes lie outside the model file. */
export interface ExternalData {
  /** File name, relative to the model's folder. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A tensor without its bytes. */
export interface TensorHeader {
  readonly name: string;
  readonly dtype: DataType;
  readonly dims: readonly number[];
  readonly external?: ExternalData | undefined;
}

/** Everything of a model but its initializers. */
export interface GraphProto {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

export const irVersion = 8;
export const opset = 17;

/** Tag of a length-delimited field. */
export const lengthDelimited = (field: number): number => (field << 3) | 2;

const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** Writes `ModelProto` up to (not with) its graph, field 7. */
export function encodeModelPrefix(producer: string): Uint8Array {
  const writer = Writer.create();
  writer.uint32(1 << 3).int64(irVersion);
  writer.uint32(lengthDelimited(2)).string(producer);
  // OperatorSetIdProto; an absent domain is the standard one
  writer.uint32(lengthDelimited(8)).fork();
  writer.uint32(2 << 3).int64(opset);
  writer.ldelim();
  return writer.finish();
}

/** Writes the body of `GraphProto` without initializers (they may follow, fields have no order). */
export function encodeGraph(graph: GraphProto): Uint8Array {
  const writer = Writer.create();
  for (const node of graph.nodes) {
    writer.uint32(lengthDelimited(1)).fork();
    encodeNode(writer, node);
    writer.ldelim();
  }
  writer.uint32(lengthDelimited(2)).string(graph.name);
  for (const [field, values] of [[11, graph.inputs], [12, graph.outputs]] as const) {
    for (const value of values) {
      writer.uint32(lengthDelimited(field)).fork();
      encodeValueInfo(writer, value);
      writer.ldelim();
    }
  }
  return writer.finish();
}

function encodeNode(writer: Writer, node: NodeProto): void {
  for (const input of node.inputs) writer.uint32(lengthDelimited(1)).string(input);
  for (const output of node.outputs) writer.uint32(lengthDelimited(2)).string(output);
  writer.uint32(lengthDelimited(3)).string(node.name);
  writer.uint32(lengthDelimited(4)).string(node.opType);
  for (const [name, value] of Object.entries(node.attributes)) {
    writer.uint32(lengthDelimited(5)).fork();
    encodeAttribute(writer, name, value);
    writer.ldelim();
  }
}

function encodeAttribute(writer: Writer, name: string, value: AttributeValue): void {
  writer.uint32(lengthDelimited(1)).string(name);
  if ("float" in value) {
    writer.uint32((2 << 3) | 5).float(value.float);
    writer.uint32(20 << 3).int32(attributeType.float);
  } else if ("int" in value) {
    writer.uint32(3 << 3).int64(value.int);
    writer.uint32(20 << 3).int32(attributeType.int);
  } else if ("string" in value) {
    writer.uint32(lengthDelimited(4)).string(value.string);
    writer.uint32(20 << 3).int32(attributeType.string);
  } else {
    for (const entry of value.ints) writer.uint32(8 << 3).int64(entry);
    writer.uint32(20 << 3).int32(attributeType.ints);
  }
}

function encodeValueInfo(writer: Writer, value: ValueInfo): void {
  writer.uint32(lengthDelimited(1)).string(value.name);
  writer.uint32(lengthDelimited(2)).fork(); // TypeProto
  writer.uint32(lengthDelimited(1)).fork(); // TypeProto.Tensor
  writer.uint32(1 << 3).int32(dataTypes[value.dtype]);
  writer.uint32(lengthDelimited(2)).fork(); // TensorShapeProto
  for (const dim of value.dims) {
    writer.uint32(lengthDelimited(1)).fork();
    if (typeof dim === "number") writer.uint32(1 << 3).int64(dim);
    else writer.uint32(lengthDelimited(2)).string(dim);
    writer.ldelim();
  }
  writer.ldelim().ldelim().ldelim();
}

/** Writes the body of a `TensorProto` without its `raw_data` (field 9), which may follow. */
export function encodeTensorHeader(tensor: TensorHeader): Uint8Array {
  const writer = Writer.create();
  for (const dim of tensor.dims) writer.uint32(1 << 3).int64(dim);
  writer.uint32(2 << 3).int32(dataTypes[tensor.dtype]);
  writer.uint32(lengthDelimited(8)).string(tensor.name);
  if (tensor.external) {
    const { location, offset, length } = tensor.external;
    const entries = [["location", location], ["offset", `${offset}`], ["length", `${length}`]];
    for (const [key, value] of entries) {
      writer.uint32(lengthDelimited(13)).fork();
      writer.uint32(lengthDelimited(1)).string(key!).uint32(lengthDelimited(2)).string(value!);
      writer.ldelim();
    }
    writer.uint32(14 << 3).int32(1); // DataLocation.EXTERNAL
  }
  return writer.finish();
}

/** What a reader learns of a model without running it. */
export interface ModelSummary {
  readonly producer: string;
  /** Operator sets by domain; the standard domain is "". */
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly NodeSummary[];
  readonly initializers: readonly InitializerSummary[];
}

export interface NodeSummary {
  readonly opType: string;
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export interface InitializerSummary {
  readonly name: string;
  readonly dims: readonly number[];
  /** The number of `TensorProto.DataType`. */
  readonly dataType: number;
  /** File that holds the bytes, where they are external. */
  readonly location?: string | undefined;
}

/**
 * Reads nodes, initializers (without bytes) and operator sets of a serialised model.
 * @throws {Error} where the bytes are no protobuf of a model
 */
export function summariseModel(bytes: Uint8Array): ModelSummary {
  const opsets = new Map<string, number>();
  const nodes: NodeSummary[] = [];
  const initializers: InitializerSummary[] = [];
  let producer = "";
  eachField(Reader.create(bytes), undefined, {
    2: (reader) => producer = reader.string(),
    7: (reader, end) =>
      eachField(reader, end(), {
        1: (reader, end) => nodes.push(decodeNode(reader, end())),
        5: (reader, end) => initializers.push(decodeInitializer(reader, end())),
      }),
    8: (reader, end) => {
      let domain = "";
      let version = 0;
      eachField(reader, end(), {
        1: (reader) => domain = reader.string(),
        2: (reader) => version = Number(reader.int64()),
      });
      opsets.set(domain, version);
    },
  });
  return { producer, opsets, nodes, initializers };
}

type FieldReaders = Record<number, (reader: Reader, end: () => number) => unknown>;

/** Calls the reader of each known field of one message and skips the others. */
function eachField(reader: Reader, end: number | undefined, readers: FieldReaders): void {
  const stop = end ?? reader.len;
  while (reader.pos < stop) {
    const tag = reader.uint32();
    const read = readers[tag >>> 3];
    if (read) read(reader, () => reader.uint32() + reader.pos);
    else reader.skipType(tag & 7);
  }
}

function decodeNode(reader: Reader, end: number): NodeSummary {
  const node = {
    opType: "",
    name: "",
    domain: "",
    inputs: [] as string[],
    outputs: [] as string[],
  };
  eachField(reader, end, {
    1: (reader) => node.inputs.push(reader.string()),
    2: (reader) => node.outputs.push(reader.string()),
    3: (reader) => node.name = reader.string(),
    4: (reader) => node.opType = reader.string(),
    7: (reader) => node.domain = reader.string(),
  });
  return node;
}

function decodeInitializer(reader: Reader, end: number): InitializerSummary {
  const dims: number[] = [];
  let name = "";
  let dataType = 0;
  let location: string | undefined;
  const stop = end;
  while (reader.pos < stop) {
    const tag = reader.uint32();
    if (tag === 1 << 3) dims.push(Number(reader.int64()));
    else if (tag === lengthDelimited(1)) { // packed, as some writers do
      const packedEnd = reader.uint32() + reader.pos;
      while (reader.pos < packedEnd) dims.push(Number(reader.int64()));
    } else if (tag === 2 << 3) dataType = reader.int32();
    else if (tag === lengthDelimited(8)) name = reader.string();
    else if (tag === lengthDelimited(13)) {
      let key = "";
      let value = "";
      eachField(reader, reader.uint32() + reader.pos, {
        1: (reader) => key = reader.string(),
        2: (reader) => value = reader.string(),
      });
      if (key === "location") location = value;
    } else reader.skipType(tag & 7);
  }
  return { name, dims, dataType, location };
}
