// Frames and masks of a video on a canvas, frame by frame; neighbours are fetched ahead.

const KEPT = 240;
const AHEAD = 10;

export class Player {
  // moved: called with the position that is shown.
  constructor(canvas, moved) {
    this.canvas = canvas;
    this.moved = moved;
    this.images = new Map(); // address -> Image or its promise
    this.position = 0;
    this.count = 0;
    this.masks = true;
    this.playing = false;
    this.rate = 10;
  }

  open(frameAddress, maskAddress, count) {
    if (frameAddress(0) !== this.frameAddress?.(0)) this.blank(); // another video's frame would mislead
    [this.frameAddress, this.maskAddress, this.count] = [frameAddress, maskAddress, count];
    this.playing = false;
    this.show(0);
  }

  load(address) {
    let found = this.images.get(address);
    if (!found) {
      const image = new Image();
      image.src = address;
      found = image.decode().then(() => image);
      found.catch(() => this.images.delete(address));
      this.images.set(address, found);
      for (const old of this.images.keys()) {
        if (this.images.size <= KEPT) break;
        this.images.delete(old);
      }
    }
    return found;
  }

  layers(position) {
    const addresses = [this.frameAddress(position)];
    if (this.masks && this.maskAddress) addresses.push(this.maskAddress(position));
    return addresses.map((address) => this.load(address));
  }

  async show(position) {
    this.position = Math.max(0, Math.min(this.count - 1, position));
    this.moved(this.position);
    const wanted = (this.wanted = Symbol());
    let layers;
    try {
      layers = await Promise.all(this.layers(this.position));
    } catch {
      layers = [];
    }
    if (this.wanted !== wanted) return; // another was asked for meanwhile
    this.draw(layers);
    for (let i = 1; i <= AHEAD; i++) if (this.position + i < this.count) this.layers(this.position + i);
  }

  blank(text = "") {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.fillStyle = "#98a2b3";
    context.font = "16px sans-serif";
    context.fillText(text, 20, 30);
  }

  draw(layers) {
    const context = this.canvas.getContext("2d");
    if (!layers.length) return this.blank("this frame cannot be shown");
    const [frame] = layers;
    [this.canvas.width, this.canvas.height] = [frame.naturalWidth, frame.naturalHeight];
    for (const layer of layers) context.drawImage(layer, 0, 0, this.canvas.width, this.canvas.height);
  }

  step(by) {
    this.playing = false;
    return this.show(this.position + by);
  }

  async play() {
    this.playing = !this.playing;
    if (!this.playing) return this.moved(this.position);
    if (this.position === this.count - 1) await this.show(0);
    while (this.playing && this.position < this.count - 1) {
      const next = new Promise((done) => setTimeout(done, 1000 / this.rate));
      await Promise.all([next, this.show(this.position + 1)]);
    }
    this.playing = false;
    this.moved(this.position);
  }
}
