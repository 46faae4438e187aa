// Rows of radio buttons: stage, season, background image.

/** A row of radio buttons, empty yet. `chosen` gets the value of the button that is pressed. */
export function segments(id, label, chosen) {
  const box = document.createElement("div");
  box.className = "segments";
  box.id = id;
  box.setAttribute("role", "radiogroup");
  box.setAttribute("aria-label", label);
  box.addEventListener("change", (event) => chosen(event.target.value));
  return box;
}

/** Set the radio buttons [value, text, title] of a box, and check one of them. */
export function setSegments(box, options, value) {
  const wanted = JSON.stringify(options);
  if (box.dataset.options !== wanted) {
    box.dataset.options = wanted;
    box.replaceChildren(
      ...options.map(([option, text, title]) => {
        const label = document.createElement("label");
        label.title = title ?? "";
        const input = document.createElement("input");
        Object.assign(input, { type: "radio", name: box.id, value: option });
        const span = document.createElement("span");
        span.textContent = text;
        label.append(input, span);
        return label;
      }),
    );
  }
  for (const input of box.querySelectorAll("input")) input.checked = input.value === value;
}
