// A reader of sessions over openapi-generator's go client. Its one argument is an address.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	farm "example.com/renderfarm/client"
)

func check(holds bool, seen ...any) {
	if !holds {
		panic(fmt.Sprint(seen...))
	}
}

func body(err error) []byte {
	var known *farm.GenericOpenAPIError
	check(errors.As(err, &known), err)
	return known.Body()
}

func main() {
	settings := farm.NewConfiguration()
	settings.Servers = farm.ServerConfigurations{{URL: os.Args[1]}}
	sessions := farm.NewAPIClient(settings).SessionsAPI
	now := context.Background()

	found, answer, err := sessions.GetSession(now, 42).Execute()
	check(err == nil, err)
	check(*found.Title.Get() == "Sandbox session 42", found.Title.Get())
	check(found.Progress.Phase == farm.PHASE_COMPLETED, found.Progress.Phase)
	check(strings.HasPrefix(answer.Header.Get("Cache-Status"), "rfgw; "), answer.Header)

	_, unchanged, err := sessions.GetSession(now, 42).IfNoneMatch(answer.Header.Get("ETag")).Execute()
	check(err != nil && unchanged.StatusCode == http.StatusNotModified, unchanged.Status)

	list, _, err := sessions.GetSessions(now).Ids([]int32{42, 300001}).Execute()
	check(err == nil && len(list.Items) == 2, err)
	check(list.Items[0].Session.Get().Id == 42, list.Items[0])
	check(list.Items[1].Problem.Get().Code == farm.CODE_SESSION_NOT_FOUND, list.Items[1])

	some := []farm.SessionField{farm.SESSIONFIELD_TITLE}
	_, cut, err := sessions.GetSession(now, 42).Fields(some).Execute()
	check(err != nil && cut.StatusCode == http.StatusOK, "a part is no session", err)
	var part farm.SessionPart
	check(json.Unmarshal(body(err), &part) == nil, err)
	check(part.GetTitle() == "Sandbox session 42" && !part.HasState(), part)

	_, answer, err = sessions.GetSession(now, 300001).Execute()
	var problem farm.Problem
	check(json.Unmarshal(body(err), &problem) == nil, err)
	check(answer.StatusCode == http.StatusNotFound, answer.Status)
	check(problem.Code == farm.CODE_SESSION_NOT_FOUND, problem)
	fmt.Println("read, and told apart", problem.Code)
}
