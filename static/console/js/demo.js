// The demo page: a visitor's session, the chat, the meter, the code.

import { session } from "./api.js";
import { Chat } from "./chat.js";
import { Meter } from "./meter.js";
import * as notice from "./notice.js";
import * as snippets from "./snippets.js";

snippets.start();
const meter = new Meter((calls) => chat.settle(calls));
const chat = new Chat(meter);

for (const button of document.querySelectorAll("[data-prompt]")) {
  button.addEventListener("click", () => {
    chat.ask(button.dataset.prompt);
    notice.backToMessage();
  });
}

async function begin() {
  try {
    await session();
  } catch (problem) {
    notice.show(problem, { retry: begin, startOver: begin });
  }
  await meter.look();
}

begin();
