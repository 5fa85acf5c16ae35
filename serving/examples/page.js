const form = document.querySelector("form");
const shown = document.querySelector("#shown");
const output = document.querySelector("output");
let data = "";

document.querySelector("#image").addEventListener("change", (event) => {
  const reader = new FileReader();
  reader.onload = () => {
    data = reader.result;
    shown.src = data;
    shown.hidden = false;
  };
  reader.readAsDataURL(event.target.files[0]);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  output.textContent = "…";
  const question = document.querySelector("#question").value;
  const reply = await fetch("ask", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ image: data, question }),
  });
  output.textContent = (await reply.json()).answer; // never as HTML: a model can write anything
});
