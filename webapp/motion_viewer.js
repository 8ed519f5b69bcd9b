// A 3D motion that plays and can be turned: drag sideways and up or down. props.value: {joints (T, 22, 3) cm, fps, parents}.
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");
let turn = 0.5, tilt = 0.15, held = null, shown = "";

canvas.addEventListener("pointerdown", event => { held = event; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointerup", () => { held = null; });
canvas.addEventListener("pointermove", event => {
  if (!held) return;
  turn += (event.clientX - held.clientX) / 100;
  tilt = Math.max(-0.3, Math.min(1.4, tilt + (event.clientY - held.clientY) / 150));
  held = event;
});

function middle(joints) {                       // of the whole way, so that nothing jumps
  let low = [1e9, 1e9], high = [-1e9, -1e9];
  for (const pose of joints) for (const axis of [0, 1]) {
    low[axis] = Math.min(low[axis], pose[0][2 * axis]);
    high[axis] = Math.max(high[axis], pose[0][2 * axis]);
  }
  return [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, Math.max(high[0] - low[0], high[1] - low[1])];
}

function draw(now) {
  if (!canvas.isConnected) return;
  requestAnimationFrame(draw);
  const value = props.value;
  if (!value || !value.joints || !canvas.clientWidth) return;
  const index = Math.floor(now / 1000 * value.fps) % value.joints.length;
  const wanted = [index, turn, tilt, canvas.clientWidth, value.joints.length].join();
  if (wanted === shown) return;                  // 20 pictures a second, as the motion has, and none while out of sight
  shown = wanted;
  const width = canvas.width = canvas.clientWidth * devicePixelRatio, height = canvas.height = canvas.clientHeight * devicePixelRatio;
  const [middleX, middleZ, way] = middle(value.joints);
  const scale = Math.min(height / 235, width / (150 + way));
  const place = ([x, y, z]) => {
    const side = (x - middleX) * Math.cos(turn) + (z - middleZ) * Math.sin(turn);
    const away = (z - middleZ) * Math.cos(turn) - (x - middleX) * Math.sin(turn);
    return [width / 2 + scale * side, height * 0.92 - scale * (y * Math.cos(tilt) - away * Math.sin(tilt))];
  };
  const line = (from, to, colour, thickness) => {
    pen.strokeStyle = colour; pen.lineWidth = thickness * scale; pen.lineCap = "round";
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
  };
  for (let i = -2; i <= 2; i++) {
    line(place([middleX + 50 * i, 0, middleZ - 100]), place([middleX + 50 * i, 0, middleZ + 100]), "#8884", 1);
    line(place([middleX - 100, 0, middleZ + 50 * i]), place([middleX + 100, 0, middleZ + 50 * i]), "#8884", 1);
  }
  const pose = value.joints[index];
  pose.forEach((joint, i) => {
    const parent = value.parents[i];
    if (parent < 0) return;
    const isLeft = [1, 4, 7, 10, 13, 16, 18, 20].includes(i), isRight = [2, 5, 8, 11, 14, 17, 19, 21].includes(i);
    line(place(joint), place(pose[parent]), isLeft ? "#2a9d8f" : isRight ? "#e76f51" : "#8d99ae", 5);
  });
  const head = place(pose[15]);
  pen.fillStyle = "#8d99ae"; pen.beginPath(); pen.arc(head[0], head[1] - 6 * scale, 10 * scale, 0, 7); pen.fill();
}
requestAnimationFrame(draw);
