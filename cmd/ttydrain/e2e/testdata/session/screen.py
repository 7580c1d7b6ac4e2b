# A full-screen program: a coloured frame with text of several widths, until somebody presses "q".
import curses


def screen(window):
    curses.start_color()
    curses.init_pair(1, curses.COLOR_YELLOW, curses.COLOR_BLUE)
    height, width = window.getmaxyx()
    window.bkgd(" ", curses.color_pair(1))
    window.box()
    window.addstr(2, 4, f"a screen of {width} by {height}", curses.A_BOLD)
    window.addstr(4, 4, "naïve — 漢字 — 🙂")
    window.refresh()
    while window.getch() != ord("q"):
        curses.beep()


curses.wrapper(screen)
