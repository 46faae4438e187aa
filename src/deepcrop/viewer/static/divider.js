// The border between two layers, moved by pointer or keyboard.

/** `split` says where it is, as a share of the width of `view`; `moved` gets where it shall be. */
export function listenToDivider(divider, view, split, moved) {
  const drag = (event) => {
    const box = view.getBoundingClientRect();
    moved((event.clientX - box.left) / box.width);
  };
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    divider.addEventListener("pointermove", drag);
  });
  for (const end of ["pointerup", "pointercancel"]) divider.addEventListener(end, () => divider.removeEventListener("pointermove", drag));
  divider.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: split() - 0.05, ArrowRight: split() + 0.05, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moved(to);
  });
}
