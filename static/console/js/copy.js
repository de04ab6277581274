// Copy buttons: <button data-copy="id of the text" data-done="Copied" hidden>. Without scripts they are not there.

for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = button.dataset.done;
      setTimeout(() => (button.textContent = label), 1800);
    } catch {
      getSelection().selectAllChildren(source); // without permission: selected for the visitor's own copy
    }
  });
}
