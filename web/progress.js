/** How far a request has come. */
import { $ } from './dom.js';
import { onLanguage, t } from './i18n.js';

/** @param {import('./store.js').Store} store */
export function showProgress(store) {
  const bar = $('#progress-bar');
  const fill = /** @type {HTMLElement} */ (bar.firstElementChild);
  $('#cancel').addEventListener('click', () => store.state.job?.cancel());
  const render = () => {
    const { job } = store.state;
    $('#progress').hidden = !job;
    $('#run').hidden = !!job;
    document.body.classList.toggle('busy', !!job);
    if (!job) return;
    const { phase, position, part: [part, parts] } = job;
    const text = t(phase === 'queued' && !position ? 'run.next' : `run.${phase}`, { n: position }) + (part ? t('run.part', { n: part, of: parts - 1 }) : '');
    if ($('#progress-text').textContent !== text) $('#progress-text').textContent = text; // read out once
    // Encoding an image is most of the work.
    const own = job.fraction === null ? null
      : phase === 'encoding' ? job.fraction * 0.7 : phase === 'decoding' ? 0.7 + job.fraction * 0.3 : null;
    const fraction = own === null && part === 0 ? null : (part + (own ?? 0)) / parts;
    bar.classList.toggle('waiting', fraction === null);
    fill.style.width = fraction === null ? '' : `${Math.round(fraction * 100)}%`;
    if (fraction === null) bar.removeAttribute('aria-valuenow');
    else bar.setAttribute('aria-valuenow', String(Math.round(fraction * 100)));
  };
  store.on(['job'], render);
  onLanguage(render);
}
