/** Where the client believes this server to be. */

import type { Context } from "hono";

/** A host name, IPv4 or bracketed IPv6 address, with an optional port. */
const hostPattern =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
const prefixPattern = /^(?:\/[A-Za-z0-9._~-]+)+$/;

export interface PublicUrlOptions {
  readonly publicUrl?: string | undefined;
  readonly trustProxy: boolean;
}

/**
 * The start of absolute URLs in the answer to this request, without a slash at its end: as
 * configured, or as the proxy or the client named the server; never the address it listens on.
 *
 * The forwarded headers are believed unless switched off: the URL goes back to nobody but the one
 * who sent them.
 */
export function baseUrl(c: Context, { publicUrl, trustProxy }: PublicUrlOptions): string {
  if (publicUrl !== undefined) return publicUrl;
  const direct = new URL(c.req.url);
  const forwarded = (name: string) =>
    trustProxy ? c.req.header(name)?.split(",")[0]?.trim() : undefined;
  const protocol = forwarded("X-Forwarded-Proto")?.toLowerCase();
  const host = forwarded("X-Forwarded-Host") ?? c.req.header("Host");
  const prefix = forwarded("X-Forwarded-Prefix")?.replace(/\/+$/, "");
  return [
    protocol === "http" || protocol === "https" ? `${protocol}:` : direct.protocol,
    "//",
    host !== undefined && hostPattern.test(host) ? host : direct.host,
    prefix !== undefined && prefixPattern.test(prefix) ? prefix : "",
  ].join("");
}
