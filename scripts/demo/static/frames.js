// Frames that have no address of their own: extensions reach them only if they ask to.

function fill(view) {
  const input = view.document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.ariaLabel = "Choose photos";
  view.document.body.append(input);
  input.addEventListener("change", () => window.send(input.files));
}

function frame(id) {
  const element = document.createElement("iframe");
  element.id = id;
  element.title = id;
  document.getElementById(`${id}-place`).append(element);
  return element.contentWindow;
}

fill(frame("blank"));

const written = frame("written");
written.document.open(); // removes every listener that anyone has on this window
written.document.write('<input type="file" multiple aria-label="Choose photos" onchange="parent.send(this.files)">');
written.document.close();
