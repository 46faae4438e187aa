// Drawing a polygon on the map, corner by corner.

const MOST = 500; // corners; the server takes no more

export class Drawing {
  /** `button` begins and ends it, `finished` gets the corners, `notify` shows what to do. */
  constructor(button, sides, finished, notify) {
    Object.assign(this, { button, sides, finished, notify, on: false, corners: [] });
  }

  toggle() {
    if (!this.on) this.#start();
    else if (this.corners.length > 2) this.#finish();
    else this.stop();
  }

  /** Add a corner; the second click of a double click, or one on the first corner, ends the drawing. */
  add(place) {
    const { map } = this.sides.left;
    const near = (corner) => {
      const [a, b] = [map.project(corner), map.project(place)];
      return Math.hypot(a.x - b.x, a.y - b.y) < 8;
    };
    const { corners } = this;
    if (corners.length > 2 && (near(corners[0]) || near(corners.at(-1)))) return this.#finish();
    if (corners.length && near(corners.at(-1))) return undefined;
    if (corners.length === MOST) return this.notify(`An area has at most ${MOST} corners.`);
    corners.push(place);
    return this.#show();
  }

  stop() {
    this.on = false;
    this.corners = [];
    this.#show();
    this.sides.left.map.doubleClickZoom.enable();
    this.sides.right?.map.doubleClickZoom.enable();
  }

  #start() {
    this.on = true;
    this.#show();
    for (const side of Object.values(this.sides)) side.map.doubleClickZoom.disable();
    this.notify("Click the corners of the area, the last one twice.");
  }

  #finish() {
    const { corners } = this;
    this.stop();
    this.finished(corners);
  }

  #show() {
    this.button.textContent = !this.on ? "Draw an area" : this.corners.length > 2 ? "Finish the area" : "Stop drawing";
    this.button.setAttribute("aria-pressed", String(this.on));
    for (const side of Object.values(this.sides)) side.setDrawing(this.corners);
  }
}
