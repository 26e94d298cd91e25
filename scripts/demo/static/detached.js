// Inputs that never enter the document; their events pass no ancestor that the window's listeners stand on.

document.getElementById("choose").addEventListener("click", () => {
  const input = document.createElement("input");
  input.addEventListener("input", (event) => window.send(event.target.files), true); // before its type is known
  input.type = "file";
  input.click();
});

document.getElementById("choose-inline").addEventListener("click", () => {
  const input = document.createElement("input");
  input.type = "file";
  input.setAttribute("onchange", "send(this.files)"); // no listener that a script registers
  input.click();
});

document.getElementById("choose-tree").addEventListener("click", () => {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  label.append(input);
  label.setAttribute("onchange", "send(event.target.files)");
  label.dispatchEvent(new MouseEvent("click", { bubbles: true }));
});
