package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
)

// Converse types a line on a host's terminal and, prompt by prompt, what follows it.
func (r LabRunner) Converse(ctx context.Context, host, line string, turns []tutorial.Turn) (string, int, error) {
	h, err := r.Lab.Find(host)
	if err != nil {
		return "", 0, err
	}
	ours, theirs, err := openTerminal()
	if err != nil {
		return "", 0, fmt.Errorf("open a terminal: %w", err)
	}
	defer ours.Close()
	cmd := h.Command(ctx, "sh", "-c", line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return "", 0, err
	}
	out, typing := converse(ours, turns)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return out, lab.ExitCode(exit.ProcessState), nil
	}
	return out, 0, errors.Join(err, typing)
}

// converse reads what the terminal shows until it is closed on the other side, and answers each prompt as it comes.
func converse(terminal *os.File, turns []tutorial.Turn) (string, error) {
	var shown strings.Builder
	answered := 0 // how much of what was shown came before the last answer
	buf := make([]byte, 4096)
	for {
		n, err := terminal.Read(buf)
		shown.Write(buf[:n])
		if err != nil { // EIO: the last process has closed it
			break
		}
		if len(turns) > 0 && strings.Contains(shown.String()[answered:], turns[0].Await) {
			answered = shown.Len()
			if _, err := terminal.WriteString(turns[0].Send + "\n"); err != nil {
				return shown.String(), err
			}
			turns = turns[1:]
		}
	}
	if len(turns) > 0 {
		return shown.String(), fmt.Errorf("the prompt %q did not come", turns[0].Await)
	}
	return shown.String(), nil
}

// openTerminal makes a pseudo terminal.
func openTerminal() (ours, theirs *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours = os.NewFile(uintptr(fd), "ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
