package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
)

// User is the account whose password authenticates hosts to one another, as pcs has it.
const User = "hacluster"

// PasswordHelper is PAM's helper for checking a password: it takes the user as argument and the password, ended by a NUL,
// on its standard input, and ends with 0 if the password is right (unix_chkpwd(8); it must be run by root).
const PasswordHelper = "/usr/sbin/unix_chkpwd"

// ErrPassword: user or password are wrong.
var ErrPassword = errors.New("Username and/or password is incorrect")

// CheckPassword checks a user's password with the helper (PasswordHelper). Only User may authenticate.
func CheckPassword(ctx context.Context, helper, user, password string) error {
	if user != User || bytes.IndexByte([]byte(password), 0) >= 0 || password == "" {
		return ErrPassword
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.AuthHelperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, helper, user, "nullok")
	cmd.Stdin = bytes.NewReader(append([]byte(password), 0))
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("check the password of %s: %w", user, ctx.Err())
	case errors.As(err, &exit):
		return ErrPassword
	}
	return fmt.Errorf("check the password of %s: %w; install PAM's helper (libpam-modules-bin)", user, err)
}

// Limiter slows down guessing: after cluster.AuthAttempts failures from one source within cluster.AuthWindow it refuses
// the source until the window has passed.
type Limiter struct {
	mu      sync.Mutex
	sources map[string][]clock.Boottime
}

// NewLimiter makes a limiter.
func NewLimiter() *Limiter { return &Limiter{sources: make(map[string][]clock.Boottime)} }

// Allow tells whether source may try, and otherwise how long it has to wait.
func (l *Limiter) Allow(source string, now clock.Boottime) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := l.recent(source, now)
	if len(recent) < cluster.AuthAttempts {
		return 0, true
	}
	return recent[0].Add(cluster.AuthWindow).Sub(now), false
}

// Failed notes a failure of source.
func (l *Limiter) Failed(source string, now clock.Boottime) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.sources[source]; !known && len(l.sources) >= cluster.MaxAuthSources {
		l.forget(now)
	}
	l.sources[source] = append(l.recent(source, now), now)
}

// Succeeded forgets the failures of source.
func (l *Limiter) Succeeded(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, source)
}

func (l *Limiter) recent(source string, now clock.Boottime) []clock.Boottime {
	return slices.DeleteFunc(slices.Clone(l.sources[source]), func(at clock.Boottime) bool { return now.Sub(at) >= cluster.AuthWindow })
}

// forget makes room: the sources whose window has passed, or else the one that failed longest ago.
func (l *Limiter) forget(now clock.Boottime) {
	oldest, at := "", now
	for _, s := range slices.Sorted(maps.Keys(l.sources)) {
		r := l.recent(s, now)
		if len(r) == 0 {
			delete(l.sources, s)
		} else if last := r[len(r)-1]; oldest == "" || last < at {
			oldest, at = s, last
		}
	}
	if len(l.sources) >= cluster.MaxAuthSources {
		delete(l.sources, oldest)
	}
}
