// Frames and masks of a video on a canvas, frame by frame; neighbours are fetched ahead.

import { api, reasonOf } from "./common.js";

const KEPT = 240;
const AHEAD = 10;

export class Player {
  // moved: called with the position that is shown; said: with why there is no picture.
  constructor(canvas, moved, said) {
    this.said = said;
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
      const reason = await this.reason(this.position);
      if (this.wanted === wanted) this.blank(reason);
    }
    if (this.wanted !== wanted) return; // another was asked for meanwhile
    this.draw(layers);
    for (let i = 1; i <= AHEAD; i++) if (this.position + i < this.count) this.layers(this.position + i);
  }

  // Why a frame cannot be shown, as the server has it.
  async reason(position) {
    for (const address of [this.frameAddress(position), this.maskAddress?.(position)]) {
      try {
        if (address) await api(address);
      } catch (error) {
        return reasonOf(error);
      }
    }
    return "this frame cannot be shown";
  }

  blank(text = "") {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.said(text);
  }

  draw(layers) {
    const context = this.canvas.getContext("2d");
    if (!layers.length) return;
    this.said("");
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
