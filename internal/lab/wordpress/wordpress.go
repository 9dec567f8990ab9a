// Package wordpress drives a WordPress site from outside, over HTTP as a visitor and an author would: its own installer,
// publishing by XML-RPC, and reading every post back through the REST interface.
package wordpress

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Site is a WordPress site reached with one HTTP client.
type Site struct {
	Base     string // http://HOST, without a final slash
	Client   *http.Client
	User     string
	Password string
}

const (
	// maxBody bounds what is read of any answer, in bytes.
	maxBody = 8 << 20
	// retryPause separates attempts that found the site not serving.
	retryPause = 100 * time.Millisecond
)

// Install runs WordPress's installer: the page that asks, then the form. It succeeds also if the site is installed.
func (s *Site) Install(ctx context.Context, title string) error {
	if _, err := s.get(ctx, "/wp-admin/install.php"); err != nil {
		return fmt.Errorf("open the WordPress installer: %w", err)
	}
	form := url.Values{
		"weblog_title": {title}, "user_name": {s.User}, "admin_password": {s.Password}, "admin_password2": {s.Password},
		"pw_weak": {"on"}, "admin_email": {"author@example.org"}, "blog_public": {"0"}, "language": {""}, "Submit": {"Install WordPress"},
	}
	body, err := s.post(ctx, "/wp-admin/install.php?step=2", "application/x-www-form-urlencoded", []byte(form.Encode()))
	if err != nil {
		return fmt.Errorf("run the WordPress installer: %w", err)
	}
	if !bytes.Contains(body, []byte("wp-login.php")) {
		return fmt.Errorf("run the WordPress installer: it did not report success: %.300s", visible(body))
	}
	return nil
}

// visible is a page's text without its tags, for error messages.
func visible(page []byte) string {
	var b strings.Builder
	inTag := false
	for _, r := range string(page) {
		switch {
		case r == '<':
			inTag = true
		case r == '>':
			inTag = false
			b.WriteByte(' ')
		case !inTag:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// Publish publishes one post, trying until it is known to be stored. An attempt whose outcome is unknown is looked up by
// title before the next, so that the post is stored once.
func (s *Site) Publish(ctx context.Context, title, text string) error {
	var last error
	for {
		if last = s.publishOnce(ctx, title, text); last == nil {
			return nil
		}
		if stored, err := s.awaitCount(ctx, title); err == nil && stored > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("publish %q: %w (last attempt: %v)", title, ctx.Err(), last)
		}
	}
}

// awaitCount asks how many posts have the title until the site answers.
func (s *Site) awaitCount(ctx context.Context, title string) (int, error) {
	for {
		titles, err := s.Titles(ctx)
		if err == nil {
			return titles[title], nil
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(retryPause):
		}
	}
}

func (s *Site) publishOnce(ctx context.Context, title, text string) error {
	call := fmt.Sprintf(`<?xml version="1.0"?><methodCall><methodName>wp.newPost</methodName><params>`+
		`<param><value><int>1</int></value></param><param><value><string>%s</string></value></param>`+
		`<param><value><string>%s</string></value></param><param><value><struct>`+
		`<member><name>post_title</name><value><string>%s</string></value></member>`+
		`<member><name>post_content</name><value><string>%s</string></value></member>`+
		`<member><name>post_status</name><value><string>publish</string></value></member>`+
		`</struct></value></param></params></methodCall>`, escape(s.User), escape(s.Password), escape(title), escape(text))
	body, err := s.post(ctx, "/xmlrpc.php", "text/xml", []byte(call))
	if err != nil {
		return err
	}
	var answer struct {
		ID    string `xml:"params>param>value>string"`
		Fault string `xml:"fault>value>struct>member>value>string"`
	}
	if err := xml.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the answer to wp.newPost is not XML-RPC: %.200s", body)
	}
	if answer.ID == "" {
		return fmt.Errorf("wp.newPost failed: %s", answer.Fault)
	}
	return nil
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer does not fail
	return b.String()
}

// Titles counts the published posts by title, reading through the REST interface.
func (s *Site) Titles(ctx context.Context) (map[string]int, error) {
	body, err := s.get(ctx, "/index.php?rest_route=/wp/v2/posts&per_page=100")
	if err != nil {
		return nil, fmt.Errorf("read the posts: %w", err)
	}
	var posts []struct {
		Title struct {
			Rendered string `json:"rendered"`
		} `json:"title"`
	}
	if err := json.Unmarshal(body, &posts); err != nil {
		return nil, fmt.Errorf("read the posts: the answer is not the REST interface's: %.200s", visible(body))
	}
	titles := map[string]int{}
	for _, p := range posts {
		titles[html.UnescapeString(p.Title.Rendered)]++
	}
	return titles, nil
}

// FrontPage reads the front page as a visitor sees it.
func (s *Site) FrontPage(ctx context.Context) (string, error) {
	body, err := s.get(ctx, "/")
	return string(body), err
}

func (s *Site) get(ctx context.Context, path string) ([]byte, error) {
	return s.roundTrip(ctx, http.MethodGet, path, "", nil)
}

func (s *Site) post(ctx context.Context, path, kind string, body []byte) ([]byte, error) {
	return s.roundTrip(ctx, http.MethodPost, path, kind, body)
}

func (s *Site) roundTrip(ctx context.Context, verb, path, kind string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, verb, s.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", verb, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: status %s: %.200s", verb, path, resp.Status, visible(data))
	}
	return data, nil
}

// AwaitUp waits until the site answers its installer's page: balancer, web server, PHP and database are there.
func (s *Site) AwaitUp(ctx context.Context) error {
	for {
		_, err := s.get(ctx, "/wp-admin/install.php")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the site %s does not come up: %w (last answer: %v)", s.Base, ctx.Err(), err)
		case <-time.After(retryPause):
		}
	}
}
