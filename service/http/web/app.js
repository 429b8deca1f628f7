// The page: views over one service. Starts everything, draws everything, and keeps the URL.
import { compare } from "./compare.js";
import { detailDialog } from "./detail.js";
import { follow, fragment } from "./fragment.js";
import { gallery } from "./gallery.js";
import { keyDialog } from "./key.js";
import { helpDialog, listenToKeys, toggleHelp } from "./keyboard.js";
import { html, render } from "./lit-html.js";
import { make } from "./make.js";
import { changed, classesOf, drawnBy, state } from "./page.js";
import { secondsOf, stepsOf } from "./run.js";
import { corner, duration, watchStatus } from "./status.js";
import { sweep } from "./sweep.js";

const tabs = [make, sweep, compare, gallery];

let written = ""; // the fragment that the URL has, as we wrote it
let isFollowing = false; // the URL is being read: nothing is written into it
let before = null; // what had the focus before a dialog

const current = () => tabs.find(({ id }) => id === state.tab);

function draw() {
  render(page(current()), document.querySelector("#page"));
  for (const dialog of document.querySelectorAll("dialog:not([open])")) {
    before ??= document.activeElement;
    dialog.showModal();
  }
  if (before && !document.querySelector("dialog")) {
    before.focus();
    before = null;
  }
  if (state.models.length && !isFollowing) keepUrl(current());
}

function page(tab) {
  return html`<header>
      <a class="brand" href="#make"><svg viewBox="0 0 8 8" aria-hidden="true"><rect width="8" height="8" rx="2"
        fill="#36c"/><path d="M2 2h1v1h-1zM4 2h2v4h-2zM2 4h1v2h-1z" fill="#fff"/></svg>dit-serve</a>
      <div role="tablist" aria-label="Views" @keydown=${turnTabs}>${tabs.map(tabButton)}</div>
      ${corner()}
      <button type="button" class="icon" aria-label="Keys" title="Keys (?)" @click=${toggleHelp}>?</button>
    </header>
    <main><div role="tabpanel" id="view" aria-labelledby="tab-${tab.id}">
      <h1 class="unseen">${tab.title}</h1>
      ${state.models.length
        ? html`<section class="panel" aria-label="What to make">${tab.panel()}${actions(tab)}</section>
          <section class="stage" aria-label="Pictures">${notices(tab)}${tab.stage()}</section>`
        : html`<p class="empty">${state.trouble || "Asking the service what it has loaded …"}</p>`}
    </div></main>${detailDialog()}${helpDialog()}${keyDialog()}`;
}

function tabButton(tab, k) {
  const isCurrent = tab === current();
  return html`<button type="button" role="tab" id="tab-${tab.id}" aria-selected=${String(isCurrent)}
    aria-controls="view" tabindex=${isCurrent ? 0 : -1} @click=${() => show(k)}>${tab.title}</button>`;
}

function actions(tab) {
  const { requests, problem } = tab.wanted();
  const isBusy = Boolean(tab.run && !tab.run.isOver);
  return html`<div class="actions">
    <p class=${problem ? "fault" : "hint"} id="cost">${problem || costOf(requests)}</p>
    <div class="row"><button type="button" class="strong" aria-describedby="cost" ?disabled=${!requests.length}
      @click=${makeNow}>${tab.verb ?? "Make"}</button>
    <button type="button" ?disabled=${!isBusy} @click=${() => tab.run.stop()}>Stop</button></div></div>`;
}

function costOf(requests) {
  if (!requests.length) return "Nothing to make yet";
  const seconds = secondsOf(requests);
  return `${requests.length} picture${requests.length === 1 ? "" : "s"}, ${stepsOf(requests).toLocaleString("en")}
    evaluations of the network${seconds === null ? "" : `, about ${duration(seconds)}`}`;
}

function notices({ run }) {
  const failed = run?.cells.filter(({ problem }) => problem) ?? [];
  const why = new Set(failed.map(({ problem }) => problem.detail || problem.title));
  const told = [
    state.notice,
    state.trouble,
    run?.state === "waiting" && `${run.reason} Trying again in ${Math.ceil(run.waitSeconds)} s.`,
    failed.length && `${failed.length} of ${run.cells.length} failed. ${[...why].join(" ")}`,
  ];
  return told.filter(Boolean).map((text) => html`<p class="notice">${text}</p>`);
}

function makeNow() {
  const tab = current();
  if (!state.models.length || !tab.wanted().requests.length) return false;
  state.notice = "";
  tab.run?.stop();
  tab.make();
  return changed();
}

function stop() {
  const { run } = current();
  if (!run || run.isOver) return false;
  return run.stop();
}

function show(k) {
  state.tab = tabs[k].id;
  state.notice = "";
  if (state.models.length) enter(fragment(tabs[k], isMade(tabs[k])));
  changed();
}

function turnTabs(event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  show((tabs.indexOf(current()) + by + tabs.length) % tabs.length);
  document.querySelector(`#tab-${state.tab}`).focus();
}

/** Whether a view's pictures are those that its URL would make. */
function isMade(tab) {
  return Boolean(tab.run) && madeOf(tab) === tab.madeAs;
}

/** What a view's pictures depend on: its fragment without the entries that only show them in another way. */
function madeOf(tab) {
  const [, params] = fragment(tab, true).split("?");
  return tab.unmade ? String([...new URLSearchParams(params)].filter(([name]) => !tab.unmade.includes(name))) : params;
}

/** Writes a view into the URL, as it is made and typed. */
function keepUrl(tab) {
  if (tab.run !== tab.seenRun) Object.assign(tab, { seenRun: tab.run, madeAs: madeOf(tab) });
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
  if (hasPictures && !isMade(tab) && tab.wanted().requests.length) {
    tab.run?.stop();
    tab.make({ isAgain: true });
    Object.assign(tab, { seenRun: tab.run, madeAs: madeOf(tab) });
  }
  written = fragment(tab, isMade(tab)); // which may not be as it was typed
  isFollowing = false;
  history.replaceState(null, "", written);
  changed();
}

drawnBy(draw);
changed();
listenToKeys({ make: makeNow, stop, show: (k) => tabs[k] && show(k) });
addEventListener("popstate", () => state.models.length && followUrl());
watchStatus(followUrl);
