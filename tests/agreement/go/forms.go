// Reads one form or query a line (JSON: kind, type, data in base64) and prints what net/http finds under the watched
// names, or null; a JSON text it reads into a struct, as most Go servers do.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

type input struct {
	Kind string `json:"kind"`
	Type string `json:"type"`
	Data string `json:"data"`
}

type ids struct {
	SessionID any `json:"session_id"`
	UserID    any `json:"user_id"`
}

type body struct {
	ids
	Context ids `json:"context"`
}

func fields(kind, contentType string, data []byte) any {
	if kind == "query" {
		values, _ := url.ParseQuery(string(data))
		return watched(values)
	}
	request, _ := http.NewRequest("POST", "http://localhost/", io.NopCloser(bytes.NewReader(data)))
	request.Header.Set("Content-Type", contentType)
	if kind == "multipart" {
		if request.ParseMultipartForm(1<<20) != nil {
			return nil
		}
		return watched(url.Values(request.MultipartForm.Value))
	}
	_ = request.ParseForm()
	return watched(request.PostForm)
}

func watched(values url.Values) any {
	found := map[string][]string{}
	for _, name := range []string{"session_id", "user_id"} {
		if all, ok := values[name]; ok {
			found[name] = all
		}
	}
	return found
}

func text(data []byte) any {
	var value body
	var wrongType *json.UnmarshalTypeError
	if err := json.Unmarshal(data, &value); err != nil && !errors.As(err, &wrongType) {
		return nil
	}
	return []any{value.SessionID, value.Context.SessionID, value.UserID, value.Context.UserID}
}

func main() {
	reader := bufio.NewReader(os.Stdin)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return
		}
		var one input
		if json.Unmarshal(line, &one) != nil {
			os.Exit(1)
		}
		data, _ := base64.StdEncoding.DecodeString(one.Data)
		view := any(nil)
		if one.Kind == "json" {
			view = text(data)
		} else {
			view = fields(one.Kind, one.Type, data)
		}
		out, _ := json.Marshal([]any{view})
		fmt.Println(string(out))
	}
}
