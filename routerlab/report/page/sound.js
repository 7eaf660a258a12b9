// A clip: its player, its waveform and its spectrogram. Bytes come from the page itself or from a
// script beside it; they are decoded and drawn here, at the size in which they are seen.
"use strict";

const lab = window.routerlabPage;
const RATE = 16000;
const WINDOW = 1024;
const WAVE = 56;
const SPECTRUM = 150;
const AXIS = 18;
const PALETTES = {
  light: [[250, 249, 247], [196, 214, 240], [98, 141, 214], [47, 85, 200], [24, 32, 86]],
  dark: [[19, 21, 25], [38, 44, 92], [110, 78, 170], [226, 120, 130], [253, 231, 180]],
};

// --- bytes -------------------------------------------------------------------------------------

const waiting = new Map();
window.routerlabClip = (number, text) => waiting.get(number)?.(text);

const beside = (number) =>
  new Promise((resolve, reject) => {
    waiting.set(number, resolve);
    const script = lab.make("script", {
      src: `${encodeURIComponent(lab.data.sound.folder)}/${number}.js`,
    });
    script.addEventListener("error", () =>
      reject(new Error(`The folder ${lab.data.sound.folder} is not beside this page.`)),
    );
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  });

const bytesOf = async (number) => {
  const inside = document.getElementById(`clip-${number}`);
  const text = inside ? JSON.parse(inside.textContent) : await beside(number);
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
};

const decoded = async (bytes) => {
  const context = new OfflineAudioContext(1, 1, RATE);
  return (await context.decodeAudioData(bytes.slice().buffer)).getChannelData(0);
};

// --- drawing -----------------------------------------------------------------------------------

const hann = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));

// In place, decimation in time (Cooley and Tukey 1965); `re` and `im` hold a power of two.
const fft = (re, im) => {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const turn = (-2 * Math.PI) / size;
    for (let k = 0; k < size / 2; k++) {
      const c = Math.cos(turn * k);
      const s = Math.sin(turn * k);
      for (let a = k; a < n; a += size) {
        const b = a + size / 2;
        const x = re[b] * c - im[b] * s;
        const y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
};

// Levels in dB of one window centred on a sample, one a frequency.
const spectrum = (samples, centre, re, im) => {
  im.fill(0);
  for (let i = 0; i < WINDOW; i++) {
    const at = centre + i - WINDOW / 2;
    re[i] = at >= 0 && at < samples.length ? samples[at] * hann[i] : 0;
  }
  fft(re, im);
  const half = WINDOW / 2;
  const levels = new Float32Array(half);
  for (let i = 0; i < half; i++) levels[i] = 10 * Math.log10(re[i] * re[i] + im[i] * im[i] + 1e-10);
  return levels;
};

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const hertz = (m) => 700 * (10 ** (m / 2595) - 1);
const LOW = mel(40);
const HIGH = mel(RATE / 2);

const colour = (palette, share) => {
  const at = Math.min(0.9999, Math.max(0, share)) * (palette.length - 1);
  const [from, to] = [palette[Math.floor(at)], palette[Math.floor(at) + 1]];
  return from.map((value, i) => value + (to[i] - value) * (at - Math.floor(at)));
};

const paintSpectrum = (context, samples, width, top, height) => {
  const palette = PALETTES[lab.isDark() ? "dark" : "light"];
  const image = context.createImageData(width, height);
  const [re, im] = [new Float32Array(WINDOW), new Float32Array(WINDOW)];
  const columns = [];
  let loudest = -Infinity;
  for (let x = 0; x < width; x++) {
    const levels = spectrum(samples, Math.round(((x + 0.5) / width) * samples.length), re, im);
    loudest = Math.max(loudest, ...levels);
    columns.push(levels);
  }
  const floor = loudest - 70;
  for (let y = 0; y < height; y++) {
    const bin = (hertz(HIGH - ((HIGH - LOW) * (y + 0.5)) / height) / RATE) * WINDOW;
    const lower = Math.min(WINDOW / 2 - 2, Math.floor(bin));
    for (let x = 0; x < width; x++) {
      const level = columns[x][lower] + (columns[x][lower + 1] - columns[x][lower]) * (bin - lower);
      const [r, g, b] = colour(palette, (level - floor) / 70);
      image.data.set([r, g, b, 255], (y * width + x) * 4);
    }
  }
  context.putImageData(image, 0, top);
};

const paintWave = (context, samples, width, height, ink) => {
  context.fillStyle = ink;
  let most = 1e-4;
  for (const value of samples) most = Math.max(most, Math.abs(value));
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x / width) * samples.length);
    const to = Math.max(from + 1, Math.floor(((x + 1) / width) * samples.length));
    let [low, high] = [0, 0];
    for (let i = from; i < to; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    const y = height / 2 - (high / most) * (height / 2 - 3);
    context.fillRect(x, y, 1, Math.max(1, ((high - low) / most) * (height / 2 - 3)));
  }
};

const paintAxes = (context, seconds, width, scale, ink) => {
  context.fillStyle = ink;
  context.font = `${11 * scale}px system-ui, sans-serif`;
  const step = [0.25, 0.5, 1, 2, 5, 10, 30].find((s) => seconds / s <= width / scale / 70) ?? 60;
  const below = (WAVE + SPECTRUM + 13) * scale;
  for (let t = 0; t < seconds - step * 0.2; t += step) {
    context.fillText(t === 0 ? "0 s" : `${t}`, (t / seconds) * width + 3 * scale, below);
  }
  for (const [hz, said] of [[250, "250 Hz"], [1000, "1 kHz"], [4000, "4 kHz"]]) {
    const y = (WAVE + SPECTRUM * (1 - (mel(hz) - LOW) / (HIGH - LOW))) * scale;
    const wide = context.measureText(said).width;
    context.globalAlpha = 0.72;
    context.fillText(said, width - wide - 4 * scale, y + 4 * scale);
    context.globalAlpha = 1;
  }
};

const paint = (canvas, samples) => {
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.width = width;
  canvas.height = (WAVE + SPECTRUM + AXIS) * scale;
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  paintWave(context, samples, width, WAVE * scale, ink("--accent"));
  paintSpectrum(context, samples, width, WAVE * scale, SPECTRUM * scale);
  paintAxes(context, samples.length / RATE, width, scale, ink("--soft"));
};

// --- the block ---------------------------------------------------------------------------------

let address = null;

// The player of a clip with its drawing; it fills itself when the bytes are there.
lab.player = (row) => {
  const block = lab.make("div", { class: "clip" });
  if (row.clip < 0) {
    const why = row.silent ? `No sound: ${row.silent} (${row.audio}).` : "This page was written without sound.";
    block.append(lab.make("p", { class: "note" }, why));
    return block;
  }
  const audio = lab.make("audio", { controls: "", preload: "auto" });
  const canvas = lab.make("canvas", { height: WAVE + SPECTRUM + AXIS, "aria-hidden": "true" });
  const line = lab.make("div", { class: "head-line", hidden: "" });
  const drawn = lab.make("div", { class: "drawn" }, canvas, line);
  block.append(audio, drawn);
  fill(block, audio, canvas, line, row).catch((error) => {
    drawn.replaceWith(lab.make("p", { class: "note" }, String(error.message || error)));
  });
  return block;
};

const fill = async (block, audio, canvas, line, row) => {
  const bytes = await bytesOf(row.clip);
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(new Blob([bytes], { type: "audio/flac" }));
  audio.src = address;
  const samples = await decoded(bytes);
  if (!block.isConnected) return;
  const again = () => block.isConnected && canvas.clientWidth && paint(canvas, samples);
  again();
  new ResizeObserver(again).observe(block);
  document.addEventListener("routerlab-theme", () => again());
  const seconds = samples.length / RATE;
  const follow = () => {
    line.hidden = audio.currentTime === 0;
    line.style.left = `${(100 * audio.currentTime) / seconds}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("timeupdate", follow);
  canvas.addEventListener("click", (event) => {
    audio.currentTime = (event.offsetX / canvas.clientWidth) * seconds;
    follow();
  });
  block.dataset.ready = "yes";
};
