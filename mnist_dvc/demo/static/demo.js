// Ink and pictures go to the server as they are: what the network sees, and what it answers, come from there alone.

const part = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const SIDE = part.paper.width;
const PEN = SIDE * 0.08; // as thick as MNIST's, in a digit that fills most of the paper
const sheet = part.paper.getContext("2d");
const sent = new OffscreenCanvas(SIDE / 2, SIDE / 2); // as large as a paper on a plain screen, and four times as quick

// What happened on the paper, oldest first: strokes ({points}), pictures ({file, preview}) and an emptied paper ({}).
// What is not a stroke, and a stroke over a picture, begins anew; so undo takes back any of them alike.
const happened = [];
let version = 0; // of the paper
let offers = 0; // of files; an older one is not waited for
let pen = null; // the pointer that draws
let asking = false;

const shown = () => happened.slice(Math.max(happened.findLastIndex((one) => one.anew), 0));
const isEmpty = () => !shown().some((one) => one.points || one.file);

// ------------------------------------------------------------------------------------------------------------- asking

// What is drawn is one digit, however many strokes apart; a picture may show several, or none.
async function answerTo(picture, question) {
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await fetch(question, { method: "POST", headers, body: picture });
    return await response.json();
  } catch {
    return { error: "no answer: is `mnist-dvc demo` still running?" };
  }
}

function picture() {
  const [{ file }] = shown();
  if (file) return file;
  sent.getContext("2d").drawImage(part.paper, 0, 0, sent.width, sent.height);
  return sent.convertToBlob({ type: "image/png" });
}

// One question at a time, and the next one about the paper as it is then: so answers never fall behind the pen.
async function ask() {
  if (asking) return;
  asking = true;
  attend();
  for (let asked = null; asked !== version && !isEmpty(); ) {
    asked = version;
    const question = shown()[0].file ? "answer" : "drawing";
    const told = await answerTo(await picture(), question);
    if (!isEmpty()) show(told);
  }
  asking = false;
  attend();
}

// An answer is read out once it is one to all that was drawn.
function attend() {
  part.answer.ariaBusy = pen !== null || asking;
}

function changed() {
  version += 1;
  paint();
  if (isEmpty()) show(null);
  else ask();
}

// A file that is refused leaves the paper as it is.
async function offer(file) {
  offers += 1;
  const mine = offers;
  const told = await answerTo(file, "answer");
  const preview = told.error ? null : await previewOf(file);
  if (mine !== offers) return;
  if (told.error) {
    part.message.textContent = `${file.name}: ${told.error}`;
  } else {
    happened.push({ anew: true, file, preview });
    version += 1;
    paint();
    show(told);
  }
}

// ------------------------------------------------------------------------------------------------------------ showing

const rows = Array.from({ length: 10 }, (_, digit) => {
  const [row, track, bar] = ["li", "div", "div"].map((tag) => document.createElement(tag));
  const [name, share] = ["span", "span"].map((tag) => document.createElement(tag));
  name.textContent = digit;
  track.className = "track";
  bar.className = "bar";
  share.className = "share";
  track.append(bar);
  row.append(name, track, share);
  part.probabilities.append(row);
  return { row, bar, share };
});

const percent = (fraction) => `${(100 * fraction).toFixed(1)} %`;

// An answer, a refusal, or null for an empty paper.
function show(told) {
  const { digit, confidence, probabilities, pixels, error } = told ?? {};
  part.message.textContent = error ?? "";
  part.digit.textContent = digit ?? "–";
  part.confidence.textContent = told ? (error ? "no answer" : percent(confidence)) : "nothing drawn yet";
  rows.forEach(({ row, bar, share }, number) => {
    const probability = probabilities?.[number] ?? 0;
    row.classList.toggle("best", number === digit);
    bar.style.width = `${100 * probability}%`;
    share.textContent = probabilities ? percent(probability) : "";
  });
  const image = new ImageData(28, 28);
  image.data.forEach((_, at) => {
    image.data[at] = at % 4 === 3 ? 255 : (pixels?.[at >> 2] ?? 0);
  });
  part.seen.getContext("2d").putImageData(image, 0, 0);
}

function paint() {
  sheet.fillStyle = "#fff";
  sheet.fillRect(0, 0, SIDE, SIDE);
  sheet.lineWidth = PEN;
  sheet.lineCap = sheet.lineJoin = "round";
  for (const { points, preview } of shown()) {
    if (preview) sheet.drawImage(preview, 0, 0);
    if (!points) continue;
    const [[x, y]] = points;
    sheet.beginPath();
    sheet.moveTo(x + 0.1, y); // a line of no length would leave no dot
    points.forEach((point) => sheet.lineTo(...point));
    sheet.stroke();
  }
  part.hint.hidden = !isEmpty();
  part.undo.disabled = !happened.length;
  part.clear.disabled = isEmpty();
}

// The picture as large as the paper takes it; nothing where the browser does not know its kind, as with PGM.
async function previewOf(file) {
  const preview = new OffscreenCanvas(SIDE, SIDE);
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(SIDE / image.width, SIDE / image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    preview.getContext("2d").drawImage(image, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    image.close();
  } catch {
    return null;
  }
  return preview;
}

// ------------------------------------------------------------------------------------------------------------ drawing

function points(event) {
  const box = part.paper.getBoundingClientRect();
  const scale = SIDE / box.width;
  const passed = event.getCoalescedEvents?.() ?? [];
  return (passed.length ? passed : [event]).map(({ clientX, clientY }) => [
    (clientX - box.left) * scale,
    (clientY - box.top) * scale,
  ]);
}

part.paper.addEventListener("pointerdown", (event) => {
  if (pen !== null || event.button !== 0) return;
  event.preventDefault();
  pen = event.pointerId;
  part.paper.setPointerCapture(pen);
  offers += 1;
  happened.push({ anew: !shown().every((one) => one.points), points: points(event) });
  changed();
});

part.paper.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pen) return;
  happened.at(-1).points.push(...points(event));
  changed();
});

for (const end of ["pointerup", "pointercancel"]) {
  part.paper.addEventListener(end, (event) => {
    if (event.pointerId !== pen) return;
    pen = null;
    attend();
  });
}

function undo() {
  if (pen !== null || !happened.length) return;
  offers += 1;
  happened.pop();
  changed();
}

function clear() {
  if (pen !== null) return;
  offers += 1;
  if (!isEmpty()) happened.push({ anew: true });
  changed();
}

part.undo.addEventListener("click", undo);
part.clear.addEventListener("click", clear);

document.addEventListener("keydown", (event) => {
  const plain = !(event.ctrlKey || event.metaKey || event.altKey);
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") undo();
  else if (plain && ["Escape", "Delete", "Backspace"].includes(event.key)) clear();
  else return;
  event.preventDefault();
});

// ----------------------------------------------------------------------------------------------------------- pictures

function take(files) {
  if (files?.length) offer(files[0]);
  else part.message.textContent = "no picture in that: expected a file, or the content of one";
}

part.choose.addEventListener("click", () => part.file.click());
part.file.addEventListener("change", () => {
  if (part.file.files.length) take(part.file.files);
  part.file.value = ""; // so that the same file can be chosen again
});

document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const over of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(over, (event) => {
    event.preventDefault(); // else the browser would leave the page for the file
    document.body.classList.toggle("dropping", over === "dragover" || over === "dragenter");
    if (over === "drop") take(event.dataTransfer.files);
  });
}

show(null);
paint();
