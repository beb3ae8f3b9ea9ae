import { byId } from "./dom.ts";

const storageKey = "studio.api-key";

/** The API key of this tab, if one was given. */
export function loadApiKey(): string | undefined {
  try {
    return sessionStorage.getItem(storageKey) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Asks for a key; resolves to it, or to undefined when the visitor would rather not. */
export function askApiKey(): Promise<string | undefined> {
  const dialog = byId("ask-key", HTMLDialogElement);
  const field = byId("api-key", HTMLInputElement);
  if (dialog.open) return Promise.resolve(undefined);
  byId("api-key-cancel", HTMLButtonElement).onclick = () => dialog.close();
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const key = dialog.returnValue === "use" ? field.value.trim() : "";
      if (key === "") return resolve(undefined);
      try {
        sessionStorage.setItem(storageKey, key);
      } catch {
        // Storage refused (private window): the key then lives as long as the page.
      }
      resolve(key);
    }, { once: true });
  });
}
