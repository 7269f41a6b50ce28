// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// A step's entry contains no secret, and its digest depends on each of them.
func TestEachSecretIsHiddenInputOfDigest(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(secret string) step.Step{
		"command": func(s string) step.Step { return step.Command{Command: secret.New("echo " + s), Number: 1} },
		"hook": func(s string) step.Step {
			return step.Hook{Digest: "digest", Script: "/hooks/one", Argument: s, Image: string(HashOf(s))}
		},
		"mirror": func(s string) step.Step {
			return step.Debootstrap{Mirror: secret.NewURL("http://joe:" + s + "@mirror.example/debian")}
		},
		"token": func(s string) step.Step {
			return step.Debootstrap{Mirror: secret.NewURL("http://" + s + "@mirror.example/debian")}
		},
		"apt mirror": func(s string) step.Step {
			return step.AptSources{Entries: []step.AptSource{{URI: secret.NewURL("http://joe:" + s +
				"@mirror.example/debian")}}}
		},
		"user": func(s string) step.Step { return step.AddUser{User: step.ParseUser("joe/" + s)} },
	} {
		one, err := New(Config{}).newEntry("before", step("first-secret"), nil)
		if err != nil {
			t.Fatal(err)
		}
		two, err := New(Config{}).newEntry("before", step("other-secret"), nil)
		if err != nil {
			t.Fatal(err)
		}
		labels, err := stepLabels([]Entry{one}, nil, uuid.Max)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("step", slog.Any("step", step("first-secret")))
		for _, text := range []string{fmt.Sprint(labels), one.Title, string(one.Inputs)} {
			if strings.Contains(text, "first-secret") {
				t.Errorf("%s: the secret is in %s", name, text)
			}
		}
		if name != "hook" && (strings.Contains(log.String(), "first-secret") ||
			strings.Contains(fmt.Sprintf("%+v %#v", step("first-secret"), step("first-secret")), "first-secret")) {
			t.Errorf("%s: the step itself shows its secret: %+v", name, step("first-secret"))
		}
		if one.Content == two.Content {
			t.Errorf("%s: two secrets have one digest", name)
		}
		why := strings.Join(difference(one, two, step("other-secret"), ""), ", ")
		explained := strings.Contains(why, "changed") || strings.Contains(why, "other")
		if !explained || strings.Contains(why, "secret") || strings.Contains(why, "version of this program") {
			t.Errorf("%s: got the explanation %q", name, why)
		}
	}
}

func TestVariablesOfCommandAreHidden(t *testing.T) {
	t.Parallel()
	view := func(value string) *view {
		store := New(Config{Environ: []string{"TOKEN=" + value, "OTHER=b"}})
		v, err := store.viewOf(step.Command{Command: secret.New("echo $TOKEN")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	one, two := view("first-secret"), view("other-secret")
	if one.Environ == two.Environ {
		t.Error("another value of a variable is the same")
	}
	l, err := New(Config{}).newEntry("before", step.Command{}, one)
	if err != nil {
		t.Fatal(err)
	}
	labels, err := stepLabels([]Entry{l}, nil, uuid.Max)
	if err != nil || strings.Contains(fmt.Sprint(labels), "first-secret") {
		t.Errorf("the labels are %v (%v)", labels, err)
	}
}
