/** Errors, said clearly: what happened, the server's own words, what to do. */
import { ApiError } from './api.js';
import { $, h, icon, iconButton } from './dom.js';
import { onLanguage, t } from './i18n.js';

/** @typedef {import('./store.js').Store} Store */

/** @param {Store} store */
export function showNotices(store) {
  const render = () => {
    const { notice } = store.state;
    const element = $('#notice');
    element.hidden = !notice;
    element.replaceChildren(...(notice ? [
      icon('alert'),
      h('div', {}, h('strong', { text: notice.title }), notice.detail && h('p', { class: 'detail', text: notice.detail }), h('p', { text: notice.hint })),
      h('div', { class: 'row' },
        notice.retry && h('button', {
          type: 'button', class: 'button small', text: t('error.retry'),
          onclick: () => {
            store.set({ notice: null });
            notice.retry?.();
          },
        }),
        iconButton('close', t('error.dismiss'), () => store.set({ notice: null }))),
    ] : []));
  };
  store.on(['notice'], render);
  onLanguage(render);
}

/**
 * @param {Store} store
 * @param {unknown} error
 * @param {(() => void) | null} retry
 * @param {string} [name] of the texts, when the error is none of the server's
 */
export function tell(store, error, retry, name) {
  const known = name ?? (error instanceof ApiError ? error.name : 'page');
  const key = t(`error.title.${known}`) === `error.title.${known}` ? 'internal' : known;
  const wait = error instanceof ApiError ? error.retryAfter : 0;
  const detail = error instanceof ApiError ? error.detail : String(/** @type {Error} */ (error)?.message ?? error);
  store.set({
    notice: {
      title: t(`error.title.${key}`), detail, retry,
      hint: wait ? t('error.retryIn', { n: wait }) : t(`error.hint.${key}`),
    },
  });
}
