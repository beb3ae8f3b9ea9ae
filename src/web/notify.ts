import { byId, el } from "./dom.ts";

const shownMs = 4000;

/** Says something short at the foot of the page, to eyes and to screen readers. */
export function notify(text: string): void {
  const note = el("p", { class: "note" }, text);
  byId("notes", HTMLElement).append(note);
  setTimeout(() => note.remove(), shownMs);
}

/** Says something to screen readers only: what others see in the cards. */
export function announce(text: string): void {
  byId("announcer", HTMLElement).textContent = text;
}

/**
 * Puts text on the clipboard. The clipboard interface exists on secure origins only; elsewhere the
 * older command copies from a selected field.
 */
export async function copyText(text: string): Promise<void> {
  if (globalThis.isSecureContext) return await navigator.clipboard.writeText(text);
  const field = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("The browser refused to copy");
}
