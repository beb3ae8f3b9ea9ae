/** The optional API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. */

import type { MiddlewareHandler } from "hono";
import { timingSafeEqual } from "hono/utils/buffer";
import { HttpError } from "./errors.ts";

/**
 * Lets requests pass that carry the key; all of them if there is none.
 *
 * @throws {HttpError} 401
 */
export function requireKey(apiKey: string | undefined): MiddlewareHandler {
  return async (c, next) => {
    if (apiKey !== undefined) {
      const bearer = /^bearer +(\S+)$/i.exec(c.req.header("Authorization") ?? "")?.[1];
      const given = bearer ?? c.req.header("X-API-Key");
      // Compares digests over their whole length, so the time says nothing about the key.
      if (given === undefined || !(await timingSafeEqual(apiKey, given))) {
        throw new HttpError(
          401,
          "authentication_error",
          given === undefined
            ? "This server needs a key: send Authorization: Bearer KEY or X-API-Key: KEY"
            : "The API key is wrong",
          { "WWW-Authenticate": 'Bearer realm="stable-diffusion"' },
        );
      }
    }
    await next();
  };
}
