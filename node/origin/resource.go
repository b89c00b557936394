package origin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// A Resource is a file on a server. To read ranges, URL and Size are enough.
type Resource struct {
	URL  string
	Size int64 // bytes
	// Validator tells this version from others: a strong ETag, or a
	// Last-Modified that is as good. Empty: versions can't be told apart.
	Validator string
	// Ranges says that the server gives parts.
	Ranges bool
	// Name is what to call the file: content.CheckPath takes it.
	Name string
	// Modified is what the server says; zero if it doesn't.
	Modified time.Time
}

// Probe finds out what is at an address: it asks for the first byte, and goes by
// what is answered rather than by what is promised (Accept-Ranges, HEAD). An
// empty file has no first byte and is refused as one without ranges would be.
func (c *Client) Probe(ctx context.Context, address string) (Resource, error) {
	r, err := c.probe(ctx, address)
	if err != nil {
		return Resource{}, fmt.Errorf("probe %s: %w", shorten(address), err)
	}
	return r, nil
}

func (c *Client) probe(ctx context.Context, address string) (Resource, error) {
	if err := content.CheckURL(address); err != nil {
		return Resource{}, err
	}
	free, err := c.slot(ctx, address)
	if err != nil {
		return Resource{}, err
	}
	defer free()
	a, err := c.ask(ctx, address, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return Resource{}, err
	}
	defer a.close()
	return probed(a.Response, address)
}

// shorten writes an address for people.
func shorten(address string) string {
	u, err := url.Parse(address)
	if err != nil || len(address) > content.MaxURL {
		return "an address that is none"
	}
	return place(u)
}

// probed reads the answer to a request for the first byte.
func probed(resp *http.Response, address string) (Resource, error) {
	if err := checkStatus(resp); err != nil {
		return Resource{}, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return Resource{}, err
	}
	r := Resource{URL: address, Validator: validator(resp.Header), Name: fileName(resp.Header, u)}
	r.Modified, _ = lastModified(resp.Header)
	switch {
	case isEncoded(resp.Header):
		return r, ErrEncoded
	case resp.StatusCode == http.StatusOK && isPage(resp.Header):
		return r, ErrPage
	case resp.StatusCode == http.StatusOK:
		r.Size = resp.ContentLength
	default:
		got, err := contentRange(resp)
		if err != nil {
			return r, err
		}
		if got.first != 0 || got.last != 0 || resp.ContentLength > 1 {
			return r, fmt.Errorf("%w: %d to %d of %d came for the first byte", ErrLength, got.first, got.last, got.size)
		}
		r.Size, r.Ranges = got.size, true
	}
	switch {
	case r.Size < 0:
		return r, fmt.Errorf("%w: the server doesn't say how long it is", ErrLength)
	case r.Size == 0:
		return r, fmt.Errorf("%w: it is empty", ErrLength)
	case r.Size > content.MaxSize:
		return r, fmt.Errorf("%w: %d bytes are over the limit of %d", ErrLength, r.Size, int64(content.MaxSize))
	}
	return r, nil
}

// checkStatus returns the error of a status other than 200 and 206.
func checkStatus(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (%d)", content.ErrNotFound, resp.StatusCode)
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w (%d)", content.ErrChanged, resp.StatusCode)
	}
	return &StatusError{resp.StatusCode, parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// contentRange returns what part a 206 has.
func contentRange(resp *http.Response) (byteRange, error) {
	all := resp.Header.Values("Content-Range")
	if len(all) != 1 { // several parts in one body have theirs within
		return byteRange{}, fmt.Errorf("%w: it doesn't say which part this is", ErrLength)
	}
	got, ok := parseContentRange(all[0])
	if !ok || got.first < 0 {
		return byteRange{}, fmt.Errorf("%w: %.80q is no range", ErrLength, all[0])
	}
	return got, nil
}

// checkPart checks that an answer is size bytes of r, from that offset on.
func checkPart(resp *http.Response, r Resource, from, size int64) error {
	if err := checkStatus(resp); err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusOK && isPage(resp.Header):
		return ErrPage
	case !sameVersion(resp.Header, r.Validator) || resp.StatusCode == http.StatusOK && r.Validator != "":
		return content.ErrChanged // what If-Range is for
	case resp.StatusCode == http.StatusOK:
		return ErrNoRange
	case isEncoded(resp.Header):
		return ErrEncoded
	}
	got, err := contentRange(resp)
	if err != nil {
		return err
	}
	if got.size != r.Size {
		return fmt.Errorf("%w: %w: it has %d bytes, not %d", content.ErrChanged, ErrLength, got.size, r.Size)
	}
	if got.first != from || got.last != from+size-1 || resp.ContentLength >= 0 && resp.ContentLength != size {
		return fmt.Errorf("%w: %d bytes from %d on were asked for, and %d to %d came, in a body of %d", ErrLength, size, from, got.first, got.last, resp.ContentLength)
	}
	return nil
}

// checkWhole checks that an answer is all of r.
func checkWhole(resp *http.Response, r Resource) error {
	if err := checkStatus(resp); err != nil {
		return err
	}
	switch {
	case isPage(resp.Header):
		return ErrPage
	case !sameVersion(resp.Header, r.Validator):
		return content.ErrChanged
	case isEncoded(resp.Header):
		return ErrEncoded
	case resp.StatusCode != http.StatusOK || resp.ContentLength != r.Size:
		return fmt.Errorf("%w: %d bytes, not %d", ErrLength, resp.ContentLength, r.Size)
	}
	return nil
}
