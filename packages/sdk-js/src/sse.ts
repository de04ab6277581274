export interface ServerEvent {
  event: string;
  data: string;
  /** Of a line that begins with a colon; then there is no data. */
  comment?: string;
}

/**
 * Yields the server-sent events of a body, however the network cut it: within a character, a line ending or an event.
 * An event that the body ends within is dropped, as the standard has it. Leaving the loop closes the connection.
 */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  // A carriage return at the end of a piece may be the half of a line ending.
  const ending = /\r\n|\n|\r(?=[^])/g;
  let rest = "";
  let event = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const seen = rest.length;
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      let begin = 0;
      let match: RegExpExecArray | null;
      // What was searched before holds no ending but, as its last character, a half one.
      ending.lastIndex = Math.max(0, seen - 1);
      while ((match = ending.exec(rest))) {
        const line = rest.slice(begin, match.index);
        begin = ending.lastIndex;
        if (!line) {
          if (data.length) yield { event, data: data.join("\n") };
          event = "";
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        if (!name) yield { event: "", data: "", comment: text };
        else if (name === "data") data.push(text);
        else if (name === "event") event = text;
      }
      rest = rest.slice(begin);
      if (done) return;
    }
  } finally {
    // Not awaited: a connection that hangs would keep who leaves.
    reader.cancel().catch(() => undefined);
  }
}
