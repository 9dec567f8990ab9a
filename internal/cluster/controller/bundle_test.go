package controller

import (
	"strings"
	"testing"
)

// A bundle is not run: nothing of it is started, and what else there is goes on.
func TestBundlesAreNotStarted(t *testing.T) {
	c, active, _ := startTutorial(t)
	c.push(strings.Replace(tutorial, `</resources>`, `<bundle id="b"><podman image="i"/></bundle></resources>`, 1))
	c.until("the container is probed everywhere", func() bool {
		return c.hosts["db1"].called("b-podman-0 monitor") > 0 && c.hosts["db2"].called("b-podman-0 monitor") > 0
	})
	c.hosts[active].set("mysql_svc", "")
	c.until("the database is started again", func() bool { return c.hosts[active].called("mysql_svc start") > 1 })
	c.serves(active)
	for _, h := range c.hosts {
		if n := h.called("b-podman-0 start"); n > 0 {
			t.Errorf("%s: the container was started %d times", h.name, n)
		}
	}
}
