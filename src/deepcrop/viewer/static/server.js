// Requests to the server. Each issue of a map has the same paths below a folder of its own.

let base = ""; // "" or "issues/2018-06-15/"

export function setBase(value) {
  base = value;
}

export const path = (what) => base + what;

/** JSON of a path, or an error with the server's words. */
export async function json(url, signal) {
  const answer = await fetch(url, { signal });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof content.detail === "string" ? content.detail : answer.statusText);
  return content;
}
