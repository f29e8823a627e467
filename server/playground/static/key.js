// The dialog that takes a key. `onKey` is told when there is another one, or none.

import { key } from "./api.js";
import { $ } from "./dom.js";

export function setUpKey(onKey) {
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
