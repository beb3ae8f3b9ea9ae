/** The command line's options of a request, by the table of its fields. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Field, type FieldName, fields, rows } from "../src/requests/fields.ts";
import type { GenerateRequest } from "../src/requests/types.ts";

const placeholders = { text: "text", whole: "n", number: "x", wholes: "list", numbers: "list" };

/** Adds an option for each named field. */
export function addRequestOptions(command: Command, names: readonly FieldName[]): Command {
  for (const { json, field } of rows.filter(({ name }) => names.includes(name))) {
    const flag = `--${json.replaceAll("_", "-")} <${placeholders[field.kind]}>`;
    const option = new Option(flag, `${field.help}${describeDefault(field)}`);
    command.addOption(field.kind === "text" ? option : option.argParser(parserOf(field)));
  }
  return command;
}

/** What the options say of a request. */
export function requestOptions(flags: object): Omit<GenerateRequest, "prompt"> {
  return Object.fromEntries(Object.entries(flags).filter(([name]) => name in fields));
}

function describeDefault({ default: value, like, required }: Field): string {
  if (like !== undefined) {
    return ` (default: the ${fields[like as FieldName].label.toLowerCase()})`;
  }
  if (typeof value === "function") return " (default: the model's)";
  return required || value === undefined || value === "" ? "" : ` (default: ${value})`;
}

function parserOf(field: Field): (text: string) => unknown {
  const parse = field.kind === "whole" || field.kind === "wholes" ? integer : number;
  const isList = field.kind === "wholes" || field.kind === "numbers";
  return isList ? (text) => text.split(",").map(parse) : parse;
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new InvalidArgumentError("Not a number");
  }
  return value;
}

export function integer(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("Not an integer");
  return value;
}
