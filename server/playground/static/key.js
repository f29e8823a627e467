// The dialog that takes a key. `onKey` is told when there is another one, or none.

import { key } from "./api.js";
import { $, h } from "./dom.js";

function dialog() {
  return h("dialog", { id: "key-dialog", "aria-labelledby": "key-title" },
    h("form", { method: "dialog", id: "key-form" },
      h("h2", { id: "key-title" }, "This server asks for a key"),
      h("p", {}, "Its operator made yours with ", h("code", {}, "longjump key NAME"), ". It stays in this tab until you close it."),
      h("label", { for: "key-text" }, "API key"),
      h("input", { id: "key-text", type: "password", autocomplete: "off", spellcheck: "false", placeholder: "lj_…" }),
      h("p", { class: "wrong", id: "key-wrong", role: "alert" }),
      h("div", { class: "actions" },
        h("button", { type: "submit", class: "primary", value: "use" }, "Use it"),
        h("button", { type: "button", id: "key-forget" }, "Forget it"),
        h("button", { type: "button", id: "key-close" }, "Close"))));
}

export function setUpKey(onKey) {
  document.body.append(dialog());
  $("key").addEventListener("click", () => {
    $("key-text").value = key.get();
    $("key-wrong").textContent = "";
    $("key-dialog").showModal();
  });
  $("key-close").addEventListener("click", () => $("key-dialog").close());
  $("key-forget").addEventListener("click", () => {
    key.set("");
    $("key-dialog").close();
    onKey();
  });
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("key-text").value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      $("key-wrong").textContent = "A key is one word of letters and digits, such as lj_….";
      return;
    }
    key.set(text);
    $("key-dialog").close();
    onKey();
  });
}
