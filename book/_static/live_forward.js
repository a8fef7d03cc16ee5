// The forward pass of alexnet_lib/model.py for one picture, in plain JavaScript: the page "The network, live" runs it.
// Maps are {count, side, data}, with data map after map and row after row. tests/test_live.py compares the logits with torch's.
"use strict";

const LiveForward = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);

  // A weight is its int8 times the scale of its kernel.
  function unpackLayer({ shape, weight, scale, bias }) {
    const steps = new Int8Array(bytes(weight).buffer);
    const scales = floats(scale);
    const size = steps.length / shape[0];
    const weights = Float32Array.from(steps, (step, place) => step * scales[Math.floor(place / size)]);
    return { shape, weights, bias: floats(bias) };
  }

  // What live_net.js holds, with numbers in place of text.
  function unpack(packed) {
    const { size, places, labels, logits, pixels } = packed.patches;
    const all = bytes(pixels);
    const patch = (_, i) => ({
      pixels: all.slice(i * size * size * 3, (i + 1) * size * size * 3),
      label: labels[i],
      logits: { float32: logits.float32[i], int8: logits.int8[i] },
    });
    const layers = Object.entries(packed.layers).map(([name, layer]) => [name, unpackLayer(layer)]);
    return {
      model: packed.model,
      classes: packed.classes,
      size,
      mean: floats(packed.mean_image),
      layers: Object.fromEntries(layers),
      patches: places.map(patch),
    };
  }

  // The centre view (section 4.1): the central crop, minus the same part of the mean image, divided by pixel_std.
  function centreView(net, pixels) {
    const side = net.model.image_size;
    const edge = Math.floor((net.size - side) / 2);
    const data = new Float32Array(3 * side * side);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const from = ((row + edge) * net.size + column + edge) * 3;
        for (let channel = 0; channel < 3; channel++) {
          const value = pixels[from + channel] - net.mean[from + channel];
          data[(channel * side + row) * side + column] = value / net.model.pixel_std;
        }
      }
    }
    return { count: 3, side, data };
  }

  // Section 3.2: with two groups a kernel sees the maps of its own tower only. What lies beyond the border counts as zero.
  function convolve(input, layer, { stride, padding, overhang }, groups) {
    const [count, inside, size] = layer.shape; // kernels, maps that each sees, side of the window
    const side = Math.floor((input.side + 2 * padding + overhang - size) / stride) + 1;
    const data = new Float32Array(count * side * side);
    const sums = new Float64Array(side * side);
    // For each place in the window: the first and the last output for which it lies on a pixel.
    const reach = Array.from({ length: size }, (_, at) => [
      Math.max(0, Math.ceil((padding - at) / stride)),
      Math.min(side - 1, Math.floor((input.side - 1 + padding - at) / stride)),
    ]);
    let place = 0;
    for (let kernel = 0; kernel < count; kernel++) {
      const first = Math.floor(kernel / (count / groups)) * inside;
      sums.fill(layer.bias[kernel]);
      for (let map = first; map < first + inside; map++) {
        for (let y = 0; y < size; y++) {
          for (let x = 0; x < size; x++) {
            const weight = layer.weights[place++];
            const [left, right] = reach[x];
            for (let row = reach[y][0]; row <= reach[y][1]; row++) {
              const from = (map * input.side + row * stride + y - padding) * input.side + x - padding;
              for (let column = left; column <= right; column++) {
                sums[row * side + column] += weight * input.data[from + column * stride];
              }
            }
          }
        }
      }
      data.set(sums, kernel * side * side);
    }
    return { count, side, data };
  }

  // Section 3.3: a value is divided by what the maps around its own have at the same place. The window ends at the tower's edge.
  function normalise(maps, norm, groups) {
    const area = maps.side * maps.side;
    const each = maps.count / groups;
    const half = (norm.size - 1) / 2;
    const alpha = norm.kind == "average" ? norm.alpha / norm.size : norm.alpha;
    const data = new Float32Array(maps.data.length);
    for (let map = 0; map < maps.count; map++) {
      const [first, last] = windowOf(map, half, each);
      for (let pixel = 0; pixel < area; pixel++) {
        let total = 0;
        for (let other = first; other <= last; other++) total += maps.data[other * area + pixel] ** 2;
        data[map * area + pixel] = maps.data[map * area + pixel] / (norm.k + alpha * total) ** norm.beta;
      }
    }
    return { ...maps, data };
  }

  // The first and the last map in the window of a map, where so many maps see each other.
  function windowOf(map, half, each) {
    const start = Math.floor(map / each) * each;
    return [Math.max(map - half, start), Math.min(map + half, start + each - 1)];
  }

  // Section 3.4. Rounding up, a last window may hang over the border, but not begin beyond it.
  function pool(maps, { size, stride, round_up }) {
    let side = Math[round_up ? "ceil" : "floor"]((maps.side - size) / stride) + 1;
    if ((side - 1) * stride >= maps.side) side -= 1;
    const data = new Float32Array(maps.count * side * side).fill(-Infinity);
    for (let place = 0; place < data.length; place++) {
      const [map, row, column] = [Math.floor(place / side / side), Math.floor(place / side) % side, place % side];
      for (let y = row * stride; y < Math.min(row * stride + size, maps.side); y++) {
        for (let x = column * stride; x < Math.min(column * stride + size, maps.side); x++) {
          data[place] = Math.max(data[place], maps.data[(map * maps.side + y) * maps.side + x]);
        }
      }
    }
    return { count: maps.count, side, data };
  }

  const relu = (maps) => ({ ...maps, data: maps.data.map((value) => Math.max(0, value)) });

  // The maps of the towers that are off become zeros; towers are blocks of adjacent maps.
  function silence(maps, off) {
    const block = maps.data.length / off.length;
    off.forEach((isOff, tower) => isOff && maps.data.fill(0, tower * block, (tower + 1) * block));
    return maps;
  }

  function connect(units, { shape: [outputs, inputs], weights, bias }) {
    return Float32Array.from({ length: outputs }, (_, unit) => {
      let sum = bias[unit];
      for (let i = 0; i < inputs; i++) sum += weights[unit * inputs + i] * units[i];
      return sum;
    });
  }

  function softmax(logits) {
    const most = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - most));
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  }

  // The whole network. pixels: 3 bytes a pixel of a picture of net.size; off: for each tower, whether its maps are zeros.
  function run(net, pixels, off = [false, false]) {
    const { model, layers } = net;
    const after = {
      activation: relu,
      norm: (maps) => normalise(maps, model.norm, model.norm.stays_in_tower ? model.towers : 1),
      pool: (maps) => pool(maps, model.pool),
    };
    let maps = centreView(net, pixels);
    const stages = [];
    for (const name of Object.keys(layers).filter((each) => each.startsWith("conv"))) {
      const groups = name == "conv1" || model[name].reads_all_towers ? 1 : model.towers;
      maps = silence(convolve(maps, layers[name], model[name], groups), off);
      for (const step of model[name].then) stages.push({ layer: name, step, maps: (maps = after[step](maps)) });
    }
    let units = maps.data;
    const connected = Object.keys(layers).filter((each) => each.startsWith("fc"));
    for (const name of connected) {
      units = connect(units, layers[name]);
      // Section 4.2: no unit is dropped now, and each counts 1 - rate.
      if (name != connected.at(-1)) units = units.map((value) => Math.max(0, value) * (1 - model.dropout));
    }
    return { stages, logits: Array.from(units), probabilities: softmax(units) };
  }

  return { unpack, run, windowOf };
})();
