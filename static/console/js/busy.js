// Forms that ask a provider: say that it takes a moment, and let nobody send them twice.

for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button:not([type=button])");
    if (!button) return;
    const note = document.createElement("span");
    note.className = "asking";
    note.setAttribute("role", "status");
    button.after(note);
    note.textContent = form.dataset.busy;
    button.setAttribute("aria-disabled", "true");
    // A disabled button would drop out of what is sent, and out of the keyboard's way.
    form.addEventListener("submit", (event) => event.preventDefault());
  });
}

// The browser's back button shows the page as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
