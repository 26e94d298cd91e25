const form = document.getElementById("form");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = document.getElementById("photo").files;
  if (files.length > 0) await window.send(files);
  form.reset();
});
document.getElementById("photo").addEventListener("change", (event) => {
  form.dataset.chosen = [...event.target.files].map((file) => file.name).join(", ");
});
