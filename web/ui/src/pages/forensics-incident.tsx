// The graph of an incident, on a page of its own.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useIncident } from "../api/hooks";
import { Card, PageTitle } from "../components/bits";
import { Causes } from "../components/causes";
import { title } from "../lib/format";

export default function ForensicsIncident() {
  const { id = "" } = useParams();
  const incident = useIncident(id);
  return (
    <>
      <PageTitle side={<Link to={`/incidents/${seg(id)}`}>The incident</Link>}>{incident.data ? `${title(incident.data.type)}: ${incident.data.entity}` : "What led to what"}</PageTitle>
      <Card title="What led to what"><Causes key={id} incident={id} /></Card>
    </>
  );
}
