/** What a caller asks for, by the table. Plain data: every value here can cross a worker boundary. */
import type { Field, FieldName, fields, Kinds } from "./fields.ts";

type Fields = typeof fields;
type Value<F extends Field> = Kinds[F["kind"]];

/** The fields that every resolved request has. */
type Certain = {
  [Name in FieldName]: Fields[Name] extends { needs: string } ? never
    : Fields[Name] extends { required: true } | { like: string } | { default: unknown } ? Name
    : never;
}[FieldName];

/** One call of the pipeline, in diffusers' words. Absent fields take the model's defaults. */
export type GenerateRequest =
  & { readonly prompt: string }
  & { readonly [Name in Exclude<FieldName, "prompt">]?: Value<Fields[Name]> | undefined };

/** A request with every default filled in and every value checked (`resolveRequest`). */
export type ResolvedRequest =
  & { readonly [Name in Certain]: Value<Fields[Name]> }
  & { readonly [Name in Exclude<FieldName, Certain>]?: Value<Fields[Name]> | undefined };
