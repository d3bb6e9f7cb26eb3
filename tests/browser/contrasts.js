// Each text and each sign of the chart, its contrast, and the least by WCAG 2.2 AA.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parsed = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = color.map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const found = parsed(getComputedStyle(one).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const ratio = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script")) continue;
    if (node instanceof SVGElement) continue;
    const told = walker.currentNode.data.trim().slice(0, 40);
    found.push([told, ratio(parsed(getComputedStyle(node).color).slice(0, 3), ground(node).slice(0, 3)), 4.5]);
  }
  const hint = getComputedStyle(document.getElementById("search"), "::placeholder").color;
  found.push(["placeholder", ratio(parsed(hint).slice(0, 3), ground(document.getElementById("search")).slice(0, 3)), 4.5]);
  for (const node of document.querySelectorAll("#rows .mark, #rows .line, #rows .edge")) {
    const style = getComputedStyle(node), color = node.matches(".mark") ? style.fill : style.stroke;
    const row = ground(node).slice(0, 3);
    found.push([node.getAttribute("class"), ratio(parsed(color).slice(0, 3), row), 3]);
  }
  return found;
}
