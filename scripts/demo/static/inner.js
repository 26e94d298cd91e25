const input = document.querySelector("input");
input.addEventListener("change", () => window.parent.send(input.files));
