// The page's start: names the models that are loaded. Knows no form and no picture.
const base = new URL("../", import.meta.url);
const answer = await fetch(new URL("v1/models", base));
const { models = [] } = await answer.json();
document.getElementById("page").textContent = models.map((model) => model.name).join(", ");
