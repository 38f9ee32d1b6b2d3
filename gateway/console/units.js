// Numbers as people read them.

const STEPS = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three digits and k, M, G … */
export function amount(value) {
  const size = Math.abs(value);
  for (const [step, letter] of STEPS) {
    if (size >= step * 0.9995) return digits(value / step) + letter;
  }
  return size === 0 || size >= 10 ? String(Math.round(value)) : digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2).replace(/\.0+$/, "");
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** Seconds, minutes or hours. */
export function time(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 100 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
