/** Light, dark, or as the system has it. */
import { $ } from './dom.js';
import { onLanguage, t } from './i18n.js';

const STORED = 'sam3-theme';
const THEMES = ['auto', 'light', 'dark'];

export function listenToTheme() {
  let theme = localStorage.getItem(STORED) ?? 'auto';
  if (!THEMES.includes(theme)) theme = 'auto';
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const button = $('#theme-button');
    button.setAttribute('aria-label', t(`theme.${theme}`));
    button.title = t(`theme.${theme}`);
  };
  $('#theme-button').addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(STORED, theme);
    apply();
  });
  onLanguage(apply);
}
