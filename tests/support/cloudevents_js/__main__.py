from tests.support.cloudevents_js import installed

installed()
