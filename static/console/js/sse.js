// Server-sent events off a fetch() body: data and comments, whatever the chunks they come in.

/** Parse text as it arrives. `feed` returns the events that are complete: {data} or {comment}. */
export class EventParser {
  #rest = "";
  #data = [];

  feed(text) {
    const events = [];
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.#data.length) events.push({ data: this.#data.join("\n") });
        this.#data = [];
      } else if (line.startsWith(":")) {
        events.push({ comment: line.slice(1).trim() });
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return events;
  }
}

/** Yield the events of a response's body. */
export async function* eventsOf(response) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.releaseLock();
  }
}
