// The page: four views over one service. Starts everything, draws everything, and keeps the URL.
import { ask, fromJson, Problem } from "./api.js";
import { detailDialog } from "./detail.js";
import { follow, fragment } from "./fragment.js";
import { helpDialog, toggleHelp } from "./help.js";
import { keyDialog, questionShownBy } from "./key.js";
import { listenToKeys } from "./keyboard.js";
import { html, nothing, render } from "./lit-html.js";
import { make } from "./make.js";
import { changed, classesOf, drawnBy, state } from "./page.js";
import { corner, duration, watchStatus } from "./status.js";
import { remembered } from "./storage.js";

const tabs = [make];
let written = ""; // the fragment that the URL has, as we wrote it
let isFollowing = false; // the URL is being read: nothing is written into it

const current = () => tabs.find(({ id }) => id === state.tab);

function draw() {
  render(page(current()), document.querySelector("#page"));
  showDialogs();
  if (state.models.length && !isFollowing) keepUrl();
}

function page(tab) {
  return html`
    <header>
      <a class="brand" href="#make" aria-label="dit-serve"><svg viewBox="0 0 8 8" aria-hidden="true">
        <rect width="8" height="8" rx="2" fill="#36c"/><path d="M2 2h1v1h-1zM4 2h2v4h-2zM2 4h1v2h-1z" fill="#fff"/>
        </svg><span>dit-serve</span></a>
      <div role="tablist" aria-label="Views" @keydown=${turnTabs}>${tabs.map(tabButton)}</div>
      ${corner()}
      <button type="button" class="icon" aria-label="Keys" title="Keys (?)" @click=${() => toggleHelp()}>?</button>
    </header>
    <main><div role="tabpanel" id="view" class=${tab.id} aria-labelledby="tab-${tab.id}">
      <h1 class="unseen">${tab.title}</h1>
      ${state.models.length
        ? html`<section class="panel" aria-label="What to make">${tab.panel()}${actions(tab)}</section>
            <section class="stage" aria-label="Pictures">${notices(tab)}${tab.stage()}</section>`
        : html`<p class="empty">${state.trouble || "Asking the service what it has loaded …"}</p>`}
    </div></main>
    ${detailDialog()}${helpDialog()}${keyDialog()}`;
}

function tabButton(tab, k) {
  const isCurrent = tab.id === state.tab;
  return html`<button type="button" role="tab" id="tab-${tab.id}" aria-selected=${isCurrent ? "true" : "false"}
    aria-controls="view" tabindex=${isCurrent ? "0" : "-1"} title="${tab.title} (${k + 1})" @click=${() => show(k)}>
    ${tab.title}</button>`;
}

function actions(tab) {
  if (!tab.cost) return nothing;
  const cost = tab.cost();
  const isBusy = tab.run && !tab.run.isOver;
  return html`<div class="actions">
    <p class=${cost.problem ? "fault" : "hint"} id="cost">${cost.problem ?? costWords(cost)}</p>
    <div class="row">
      <button type="button" class="strong wide" aria-describedby="cost" ?disabled=${Boolean(cost.problem)}
        @click=${() => makeNow(tab)}>Make</button>
      <button type="button" ?disabled=${!isBusy} @click=${() => tab.stop()}>Stop</button>
    </div>
  </div>`;
}

function costWords({ images, sequenceSteps, seconds }) {
  const pictures = images === 1 ? "1 picture" : `${images} pictures`;
  const time = seconds === null ? "" : `, about ${duration(seconds)}`;
  return `${pictures}, ${sequenceSteps.toLocaleString("en")} evaluations of the network${time}`;
}

function notices({ run }) {
  const told = [];
  if (state.notice) told.push(html`<p class="notice">${state.notice}</p>`);
  if (state.trouble) told.push(html`<p class="notice">${state.trouble}</p>`);
  if (run?.state === "waiting") {
    const seconds = Math.ceil(run.waitSeconds);
    told.push(html`<p class="notice">${run.reason} <strong>Trying again in ${seconds} s.</strong></p>`);
  }
  if (run?.state === "failed") {
    const failed = run.cells.filter(({ state: each }) => each === "failed");
    const words = new Set(failed.map(({ problem }) => problem.detail || problem.title));
    told.push(html`<p class="notice bad">${failed.length} of ${run.cells.length} failed. ${[...words].join(" ")}</p>`);
  }
  return told;
}

function makeNow(tab) {
  if (!state.models.length || !tab.cost || tab.cost().problem) return false;
  state.notice = "";
  tab.stop();
  tab.make();
  enter(fragment(tab, true));
  changed();
  return true;
}

function show(k) {
  state.tab = tabs[k].id;
  state.notice = "";
  enter(fragment(tabs[k], isMade(tabs[k])));
  changed();
}

function turnTabs(event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  show((tabs.indexOf(current()) + by + tabs.length) % tabs.length);
  requestAnimationFrame(() => document.querySelector("[role=tab][aria-selected=true]").focus());
}

/** Whether a view's pictures are those that its URL would make. */
function isMade(tab) {
  return Boolean(tab.run) && fragment(tab, true) === tab.madeAs;
}

/** Writes the view into the URL, as it is made and typed. */
function keepUrl() {
  const tab = current();
  if (tab.run !== tab.seenRun) Object.assign(tab, { seenRun: tab.run, madeAs: fragment(tab, true) });
  const now = fragment(tab, isMade(tab));
  if (now !== written) enter(now);
}

/** Puts a fragment into the URL: a new entry of the history, where the last one has pictures to go back to. */
function enter(now) {
  history[written.includes("made=1") ? "pushState" : "replaceState"](null, "", now);
  written = now;
}

/** Has the page show what the URL says, with its pictures. */
async function followUrl() {
  isFollowing = true;
  const hasPictures = follow(location.hash, tabs);
  const tab = current();
  if (hasPictures) await Promise.all(state.models.map(({ name }) => classesOf(name)));
  if (hasPictures && !isMade(tab) && tab.cost && !tab.cost().problem && !state.notice) {
    tab.stop();
    tab.make({ isAgain: true });
    Object.assign(tab, { seenRun: tab.run, madeAs: fragment(tab, true) });
  }
  written = fragment(tab, isMade(tab)); // which may not be as it was typed
  isFollowing = false;
  history.replaceState(null, "", written);
  changed();
}

let before = null; // what had the focus before a dialog

function showDialogs() {
  for (const dialog of document.querySelectorAll("dialog:not([open])")) {
    before ??= document.activeElement;
    dialog.showModal();
  }
  if (before && !document.querySelector("dialog")) {
    if (before.isConnected) before.focus();
    before = null;
  }
}

async function start() {
  drawnBy(draw);
  questionShownBy(changed);
  state.hasKeys = !remembered("localStorage", "no keys");
  listenToKeys({
    make: () => makeNow(current()),
    stop: () => Boolean(current().run && !current().run.isOver && (current().stop(), true)),
    show,
  });
  addEventListener("popstate", () => state.models.length && followUrl());
  changed();
  watchStatus(followUrl);
  try {
    state.links = linksOf(fromJson(await (await ask("")).text()));
  } catch (error) {
    if (!(error instanceof Problem || error instanceof TypeError)) throw error;
  }
}

function linksOf(discovery) {
  return Object.fromEntries(Object.entries(discovery).map(([name, value]) => [name, value?.href]));
}

start();
