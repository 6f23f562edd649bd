vcl 4.1;
// Varnish as a peer that answers from its cache. Nothing expires while the bench runs.
backend default {
    .host = "127.0.0.1";
    .port = "@{backend_port}";
}
sub vcl_backend_response {
    set beresp.ttl = 300s;
}
sub vcl_deliver {
    set resp.http.X-Cache-Status = "Miss";
    if (obj.hits > 0) {
        set resp.http.X-Cache-Status = "Hit";
    }
}
